dnl For PIE, the PHP installer of extensions, which runs phpize, configure, make and make
dnl install here. There is no C: make hands over to cargo (Makefile.frag).

PHP_ARG_ENABLE([write_buffer],
  [whether to enable write_buffer],
  [AS_HELP_STRING([--enable-write_buffer], [Enable write_buffer])],
  [yes])

if test "$PHP_WRITE_BUFFER" != "no"; then
  AC_PATH_PROG([CARGO], [cargo], [no])
  if test "$CARGO" = "no"; then
    AC_MSG_ERROR([cargo is missing: install Rust with rustup (https://rustup.rs); where it is there for another account alone, build as that one])
  fi
  dnl What cargo would miss only after minutes of work.
  AC_CHECK_PROG([CLANG], [clang], [yes], [no])
  if test "$CLANG" = "no" && test -z "$LIBCLANG_PATH"; then
    AC_MSG_ERROR([clang is missing, which reads the headers of PHP: install clang and libclang (Debian: clang libclang-dev), or set LIBCLANG_PATH])
  fi
  if test -z "$SQLITE3_LIB_DIR"; then
    AC_CHECK_LIB([sqlite3], [sqlite3_open_v2], [:], [AC_MSG_ERROR([the library of SQLite is missing: install its headers (Debian: libsqlite3-dev pkg-config), or set SQLITE3_LIB_DIR])])
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
