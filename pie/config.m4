dnl For PIE, the PHP installer of extensions, which runs phpize, configure, make and make
dnl install here. There is no C: make hands over to cargo (Makefile.frag).

PHP_ARG_ENABLE([write_buffer],
  [whether to enable write_buffer],
  [AS_HELP_STRING([--enable-write_buffer], [Enable write_buffer])],
  [yes])

if test "$PHP_WRITE_BUFFER" != "no"; then
  AC_PATH_PROG([CARGO], [cargo], [no])
  if test "$CARGO" = "no"; then
    AC_MSG_ERROR([cargo is missing: install Rust with rustup (https://rustup.rs)])
  fi
  dnl ext-php-rs asks these two for the headers and the version to build for.
  WRITE_BUFFER_PHP=`$PHP_CONFIG --php-binary`
  PHP_SUBST([CARGO])
  PHP_SUBST([PHP_CONFIG])
  PHP_SUBST([WRITE_BUFFER_PHP])
  PHP_MODULES="$PHP_MODULES \$(phplibdir)/write_buffer.so"
  PHP_SUBST([PHP_MODULES])
  PHP_ADD_MAKEFILE_FRAGMENT([Makefile.frag])
fi
