/* A class whose methods take what WriteBuffer's take and do nothing: what a call costs. */
#include <php.h>

ZEND_BEGIN_ARG_WITH_RETURN_TYPE_INFO_EX(arginfo_two, 0, 2, IS_LONG, 0)
	ZEND_ARG_TYPE_INFO(0, id, IS_LONG, 0)
	ZEND_ARG_TYPE_INFO(0, data, IS_ARRAY, 0)
ZEND_END_ARG_INFO()

ZEND_BEGIN_ARG_WITH_RETURN_TYPE_INFO_EX(arginfo_one, 0, 1, IS_LONG, 0)
	ZEND_ARG_TYPE_INFO(0, data, IS_ARRAY, 0)
ZEND_END_ARG_INFO()

ZEND_BEGIN_ARG_WITH_RETURN_TYPE_INFO_EX(arginfo_three, 0, 3, IS_LONG, 0)
	ZEND_ARG_TYPE_INFO(0, userId, IS_LONG, 0)
	ZEND_ARG_TYPE_INFO(0, currency, IS_STRING, 0)
	ZEND_ARG_TYPE_INFO(0, changes, IS_ARRAY, 0)
ZEND_END_ARG_INFO()

ZEND_METHOD(EmptyMethod, addOrder)
{
	zend_long id;
	zval *data;
	ZEND_PARSE_PARAMETERS_START(2, 2)
		Z_PARAM_LONG(id)
		Z_PARAM_ARRAY(data)
	ZEND_PARSE_PARAMETERS_END();
	(void) data;
	RETURN_LONG(id);
}

ZEND_METHOD(EmptyMethod, addTrade)
{
	zval *data;
	ZEND_PARSE_PARAMETERS_START(1, 1)
		Z_PARAM_ARRAY(data)
	ZEND_PARSE_PARAMETERS_END();
	(void) data;
	RETURN_LONG(1);
}

ZEND_METHOD(EmptyMethod, addBalanceUpdate)
{
	zend_long user;
	zend_string *currency;
	zval *changes;
	ZEND_PARSE_PARAMETERS_START(3, 3)
		Z_PARAM_LONG(user)
		Z_PARAM_STR(currency)
		Z_PARAM_ARRAY(changes)
	ZEND_PARSE_PARAMETERS_END();
	(void) currency;
	(void) changes;
	RETURN_LONG(user);
}

static const zend_function_entry methods[] = {
	ZEND_ME(EmptyMethod, addOrder, arginfo_two, ZEND_ACC_PUBLIC)
	ZEND_ME(EmptyMethod, addTrade, arginfo_one, ZEND_ACC_PUBLIC)
	ZEND_ME(EmptyMethod, addBalanceUpdate, arginfo_three, ZEND_ACC_PUBLIC)
	ZEND_FE_END
};

PHP_MINIT_FUNCTION(empty_method)
{
	zend_class_entry entry;
	INIT_CLASS_ENTRY(entry, "EmptyMethod", methods);
	zend_register_internal_class(&entry);
	return SUCCESS;
}

static zend_module_entry empty_method_module_entry = {
	STANDARD_MODULE_HEADER, "empty_method", NULL, PHP_MINIT(empty_method), NULL, NULL, NULL, NULL, "1",
	STANDARD_MODULE_PROPERTIES
};

ZEND_GET_MODULE(empty_method)
