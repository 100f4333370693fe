PHP_ARG_ENABLE([empty_method], [whether to build the method that does nothing], [AS_HELP_STRING([--enable-empty-method], [Build it])], [yes])

if test "$PHP_EMPTY_METHOD" != "no"; then
  PHP_NEW_EXTENSION(empty_method, empty_method.c, $ext_shared)
fi
