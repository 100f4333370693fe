//! Zend as this crate needs it and ext-php-rs does not give it: arguments the way PHP
//! parses them, hash tables without a copy, interrupts, INI values.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int};
use std::mem::{MaybeUninit, offset_of};

use ext_php_rs::class::RegisteredClass;
use ext_php_rs::ffi::{
    Bucket, GC_FLAGS_SHIFT, IS_ARRAY, IS_DOUBLE, IS_FALSE, IS_INDIRECT, IS_LONG, IS_NULL,
    IS_REFERENCE, IS_STRING, IS_TRUE, IS_UNDEF, zend_function, zend_string,
};
use ext_php_rs::types::{ZendClassObject, ZendHashTable, ZendObject, ZendStr, Zval};
use ext_php_rs::zend::{ClassEntry, ExecuteData, ExecutorGlobals, ModuleEntry};

use crate::core::frame::TEXT_ROOM;
use crate::core::value::{SHORT_BYTES_MAX, Value};

// SAFETY: declared as in PHP's own headers, the same in 8.2 to 8.6; PHP exports them all.
unsafe extern "C" {
    fn zend_parse_parameters(num_args: u32, type_spec: *const c_char, ...) -> c_int;
    fn zend_argument_type_error(argument: u32, format: *const c_char, ...);
    fn zend_zval_type_name(value: *const Zval) -> *const c_char;
    fn zend_ini_string(name: *const c_char, length: usize, original: c_int) -> *mut c_char;
    fn php_date_get_interface_ce() -> *mut ClassEntry;
    fn display_ini_entries(module: *mut ModuleEntry);
    static spl_ce_InvalidArgumentException: *mut ClassEntry;
    static spl_ce_RuntimeException: *mut ClassEntry;
    static spl_ce_LogicException: *mut ClassEntry;
}

/// `IS_STR_INTERNED` of Zend/zend_types.h, the same in 8.2 to 8.6.
const STR_INTERNED: u32 = 1 << 6;
/// `HASH_FLAG_PACKED`, likewise.
const HASH_PACKED: u32 = 1 << 2;
/// Arguments of a frame begin after its header, in units of a zval.
const FRAME_SLOTS: usize = size_of::<ExecuteData>().div_ceil(size_of::<Zval>());

/// `int|string|array` as a mask of type codes.
const KEY_TYPE_MASK: u32 = 1 << IS_LONG | 1 << IS_STRING | 1 << IS_ARRAY;

/// `$this`, of a final class registered with `T`.
pub fn this<T: RegisteredClass>(ex: &ExecuteData) -> Option<&T> {
    let object = ex.This.object()?;
    let offset = offset_of!(ZendClassObject<T>, std);
    // SAFETY: methods of a final class are only ever called with an object that its
    // `create_object` made, which is a `ZendClassObject<T>` with the zend_object at `offset`.
    let object = unsafe {
        std::ptr::from_ref(object)
            .byte_sub(offset)
            .cast::<ZendClassObject<T>>()
            .as_ref()
    }?;
    object.obj.as_ref()
}

/// `$this` as a value.
pub fn this_zval(ex: &ExecuteData) -> Zval {
    ex.This.shallow_clone()
}

/// What `$this`, of a class with one declared property, keeps there: the garbage collector
/// looks for cycles in properties, and nowhere in Rust memory.
pub fn kept(ex: &ExecuteData) -> Option<Zval> {
    let object = ex.This.object()?;
    // SAFETY: an object has as many slots behind its header as its class has properties, and
    // this class has one; it is set from the object's creation on.
    let slot = unsafe { &*object.properties_table.as_ptr() };
    (!slot.is_null()).then(|| slot.shallow_clone())
}

/// Sets what [`kept`] returns.
pub fn keep(object: &mut ZendObject, value: Zval) {
    // SAFETY: as in `kept`; what was there is freed by the assignment.
    unsafe { *object.properties_table.as_mut_ptr() = value };
}

/// `$this` as an object.
pub fn this_object(ex: &mut ExecuteData) -> Option<&mut ZendObject> {
    ex.This.object_mut()
}

fn count(ex: &ExecuteData) -> u32 {
    // SAFETY: every member of `u2` is a u32, and PHP sets `num_args` for every call.
    unsafe { ex.This.u2.num_args }
}

/// The `n`th argument as it was passed, without any conversion.
#[inline]
pub fn raw_argument(ex: &ExecuteData, n: usize) -> Option<&Zval> {
    if n >= count(ex) as usize {
        return None;
    }
    // SAFETY: PHP stores `num_args` zvals right behind the frame's header (ZEND_CALL_ARG),
    // and `n` is below that number.
    Some(unsafe { &*std::ptr::from_ref(ex).cast::<Zval>().add(FRAME_SLOTS + n) })
}

macro_rules! parse {
    ($ex:expr, $spec:literal $(, $target:ident)*) => {{
        // SAFETY: the pointers match the specification letter for letter (PHP internals,
        // "README.PARAMETER_PARSING_API") and live across the call.
        let status = unsafe {
            zend_parse_parameters(count($ex), $spec.as_ptr() $(, &raw mut $target)*)
        };
        status == 0
    }};
}

/// A string and an array argument borrowed for the call.
pub type StringAndArray<'a> = (&'a ZendStr, &'a ZendHashTable);

/// No arguments.
pub fn no_arguments(ex: &ExecuteData) -> Option<()> {
    parse!(ex, c"").then_some(())
}

/// `string, array`
pub fn string_array(ex: &ExecuteData) -> Option<StringAndArray<'_>> {
    let (mut text, mut array) = (
        std::ptr::null_mut::<ZendStr>(),
        std::ptr::null_mut::<ZendHashTable>(),
    );
    if !parse!(ex, c"Sh", text, array) {
        return None;
    }
    // SAFETY: set by the successful parse; arguments live as long as the call's frame.
    Some(unsafe { (&*text, &*array) })
}

/// `array`
pub fn array(ex: &ExecuteData) -> Option<&ZendHashTable> {
    let mut array = std::ptr::null_mut::<ZendHashTable>();
    if !parse!(ex, c"h", array) {
        return None;
    }
    // SAFETY: as in `string_array`.
    Some(unsafe { &*array })
}

/// `int, array`
pub fn int_array(ex: &ExecuteData) -> Option<(i64, &ZendHashTable)> {
    let (mut number, mut array) = (0i64, std::ptr::null_mut::<ZendHashTable>());
    if !parse!(ex, c"lh", number, array) {
        return None;
    }
    // SAFETY: as in `string_array`.
    Some((number, unsafe { &*array }))
}

/// `int, string, array`
pub fn int_string_array(ex: &ExecuteData) -> Option<(i64, StringAndArray<'_>)> {
    let (mut number, mut text, mut array) = (
        0i64,
        std::ptr::null_mut::<ZendStr>(),
        std::ptr::null_mut::<ZendHashTable>(),
    );
    if !parse!(ex, c"lSh", number, text, array) {
        return None;
    }
    // SAFETY: as in `string_array`.
    Some((number, unsafe { (&*text, &*array) }))
}

/// `string, int|string|array`
pub fn string_key(ex: &ExecuteData) -> Option<(&ZendStr, &Zval)> {
    let (mut text, mut key) = (
        std::ptr::null_mut::<ZendStr>(),
        std::ptr::null_mut::<Zval>(),
    );
    if !parse!(ex, c"Sz", text, key) {
        return None;
    }
    // SAFETY: as in `string_array`.
    let (text, key) = unsafe { (&*text, &*key) };
    let key = key.dereference();
    if key.is_long() || key.is_string() || key.is_array() {
        return Some((text, key));
    }
    // SAFETY: returns a static string for any zval; the format's one %s takes it.
    unsafe {
        zend_argument_type_error(
            2,
            c"must be of type array|string|int, %s given".as_ptr(),
            zend_zval_type_name(key),
        )
    };
    None
}

/// `?int = null`
pub fn optional_int(ex: &ExecuteData) -> Option<Option<i64>> {
    let (mut number, mut is_null) = (0i64, true);
    parse!(ex, c"|l!", number, is_null).then_some((!is_null).then_some(number))
}

/// `int, ?int = null`
pub fn int_optional_int(ex: &ExecuteData) -> Option<(i64, Option<i64>)> {
    let (mut first, mut second, mut is_null) = (0i64, 0i64, true);
    parse!(ex, c"l|l!", first, second, is_null).then_some((first, (!is_null).then_some(second)))
}

/// `float`
pub fn float(ex: &ExecuteData) -> Option<f64> {
    let mut number = 0f64;
    parse!(ex, c"d", number).then_some(number)
}

/// `string`
pub fn string(ex: &ExecuteData) -> Option<&ZendStr> {
    let mut text = std::ptr::null_mut::<ZendStr>();
    if !parse!(ex, c"S", text) {
        return None;
    }
    // SAFETY: as in `string_array`.
    Some(unsafe { &*text })
}

/// A callable, as the value that was passed.
pub fn callable(ex: &ExecuteData) -> Option<&Zval> {
    let mut value = std::ptr::null_mut::<Zval>();
    if !parse!(ex, c"z", value) {
        return None;
    }
    // SAFETY: as in `string_array`.
    let value = unsafe { &*value };
    if value.is_callable() {
        return Some(value);
    }
    // SAFETY: as in `string_key`.
    unsafe {
        zend_argument_type_error(
            1,
            c"must be a valid callback, %s given".as_ptr(),
            zend_zval_type_name(value),
        )
    };
    None
}

/// `string, array = []`; the second says whether it was given.
pub fn string_optional_array(ex: &ExecuteData) -> Option<(&ZendStr, Option<&ZendHashTable>)> {
    let (mut text, mut array) = (
        std::ptr::null_mut::<ZendStr>(),
        std::ptr::null_mut::<ZendHashTable>(),
    );
    if !parse!(ex, c"S|h", text, array) {
        return None;
    }
    // SAFETY: as in `string_array`; the array stays null when it was not passed.
    Some(unsafe { (&*text, array.as_ref()) })
}

/// Whether named arguments skipped some: PHP then passed the declared defaults for them.
pub fn has_skipped_arguments(ex: &ExecuteData) -> bool {
    /// `ZEND_CALL_MAY_HAVE_UNDEF` of Zend/zend_compile.h, the same in 8.2 to 8.6.
    const MAY_HAVE_UNDEF: u32 = 1 << 26;
    // SAFETY: both members of `u1` cover the same four bytes; of a frame's `This` they hold
    // the call's flags.
    let flags = unsafe { ex.This.u1.type_info };
    flags & MAY_HAVE_UNDEF != 0
}

/// `int, int, int, array`, all optional.
pub fn constructor(ex: &ExecuteData) -> Option<([Option<i64>; 3], Option<&ZendHashTable>)> {
    // No int a PHP caller means: tells "not passed" from every sensible value.
    const NOT_PASSED: i64 = i64::MIN;
    let (mut a, mut b, mut c) = (NOT_PASSED, NOT_PASSED, NOT_PASSED);
    let mut array = std::ptr::null_mut::<ZendHashTable>();
    if !parse!(ex, c"|lllh", a, b, c, array) {
        return None;
    }
    let passed = |n: i64| (n != NOT_PASSED).then_some(n);
    // SAFETY: as in `string_optional_array`.
    Some(([passed(a), passed(b), passed(c)], unsafe { array.as_ref() }))
}

/// `int, int, int, float, array`, all optional: `FlushResult`.
pub fn flush_result(ex: &ExecuteData) -> Option<([i64; 3], f64, Option<&ZendHashTable>)> {
    let (mut a, mut b, mut c, mut d) = (0i64, 0i64, 0i64, 0f64);
    let mut array = std::ptr::null_mut::<ZendHashTable>();
    if !parse!(ex, c"|llldh", a, b, c, d, array) {
        return None;
    }
    // SAFETY: as in `string_optional_array`.
    Some(([a, b, c], d, unsafe { array.as_ref() }))
}

/// Bytes of a PHP string.
#[inline]
pub fn bytes(text: &ZendStr) -> &[u8] {
    // SAFETY: a zend_string holds `len` bytes from `val` on.
    unsafe { std::slice::from_raw_parts((&raw const text.val).cast::<u8>(), text.len) }
}

/// Copies a string of at most [`SHORT_BYTES_MAX`] bytes to the front of `room`, by words of eight:
/// nearly every column is one or two, and takes no call and no loop. What follows the text there
/// is anything. Nothing is copied of a longer one.
#[inline(always)]
pub fn copy_text(text: &ZendStr, room: &mut [u8; TEXT_ROOM]) {
    if text.len > SHORT_BYTES_MAX {
        return;
    }
    let from = (&raw const text.val).cast::<MaybeUninit<u64>>();
    let to = room.as_mut_ptr().cast::<MaybeUninit<u64>>();
    let copy = |word: usize| {
        // SAFETY: `word` is `len / 8` at most, so that it begins within the text or at the zero
        // behind it. `val` lies 24 bytes behind the start of an allocation aligned to 8, and each
        // of PHP's allocators (its own, malloc, opcache's) gives a multiple of 8 bytes: the word is
        // an aligned one that the string's memory has whole. As `MaybeUninit` it may be padding.
        let bytes = unsafe { from.add(word).read_unaligned() };
        // SAFETY: `word` is `SHORT_BYTES_MAX / 8` at most, and `room` has one more. What of it
        // is not text is overwritten, or not read: the row ends before it.
        unsafe { to.add(word).write_unaligned(bytes) };
    };
    copy(0);
    if text.len >= 8 {
        copy(1);
        for word in 2..=text.len / 8 {
            copy(word);
        }
    }
}

/// A key of a hash table, by address; only what [`Key::is_interned`] may be compared so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key(*const zend_string);

impl Key {
    /// Whether the address stands for the same text until the end of the request.
    pub fn is_interned(self) -> bool {
        // SAFETY: a key taken from a live table is a live zend_string.
        let info = unsafe { (*self.0).gc.u.type_info };
        (info >> GC_FLAGS_SHIFT) & STR_INTERNED != 0
    }

    /// The key's text, as long as its table lives.
    pub fn bytes<'a>(self) -> &'a [u8] {
        // SAFETY: see `is_interned`; callers keep the table borrowed.
        bytes(unsafe { &*self.0 })
    }
}

/// The elements of an array without holes whose keys are all there, as such arrays mostly are.
#[inline]
pub fn buckets(table: &ZendHashTable) -> Option<&[Bucket]> {
    // SAFETY: both members of `u` are plain integers.
    let flags = unsafe { table.u.flags };
    let used = table.nNumUsed;
    if flags & HASH_PACKED != 0 || used != table.nNumOfElements || used == 0 {
        return None;
    }
    // SAFETY: a table that is not packed and not empty has `nNumUsed` buckets there.
    Some(unsafe { std::slice::from_raw_parts(table.__bindgen_anon_1.arData, used as usize) })
}

/// How many elements an array has, those without a value included.
#[inline]
pub fn count_of(table: &ZendHashTable) -> usize {
    table.nNumOfElements as usize
}

/// The value of a bucket, if its key is this one.
#[inline]
pub fn value_under(bucket: &Bucket, key: Key) -> Option<&Zval> {
    std::ptr::eq(bucket.key, key.0).then_some(&bucket.val)
}

/// An array's elements in order: key, if it is a string, and value, references followed.
pub struct Elements<'a> {
    table: &'a ZendHashTable,
    at: u32,
    packed: bool,
}

/// Walks an array without copying anything.
#[inline]
pub fn elements(table: &ZendHashTable) -> Elements<'_> {
    // SAFETY: both members of `u` are plain integers.
    let flags = unsafe { table.u.flags };
    Elements {
        table,
        at: 0,
        packed: flags & HASH_PACKED != 0,
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = (Option<Key>, &'a Zval);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        while self.at < self.table.nNumUsed {
            let at = self.at as usize;
            self.at += 1;
            let (key, value) = if self.packed {
                // SAFETY: a packed table has `nNumUsed` zvals (PHP 8.2 and later).
                (std::ptr::null(), unsafe {
                    &*self.table.__bindgen_anon_1.arPacked.add(at)
                })
            } else {
                // SAFETY: any other table has `nNumUsed` buckets.
                let bucket: &Bucket = unsafe { &*self.table.__bindgen_anon_1.arData.add(at) };
                (bucket.key.cast_const(), &bucket.val)
            };
            if type_of(value) == IS_UNDEF {
                continue;
            }
            return Some(((!key.is_null()).then_some(Key(key)), dereference(value)));
        }
        None
    }
}

#[inline]
fn type_of(value: &Zval) -> u32 {
    // SAFETY: both members of `u1` cover the same four bytes; the low one is the type.
    u32::from(unsafe { value.u1.v.type_ })
}

#[inline]
fn dereference(value: &Zval) -> &Zval {
    match type_of(value) {
        // SAFETY: the type says which member of the value is set.
        IS_REFERENCE => unsafe { &(*value.value.ref_).val },
        // SAFETY: likewise.
        IS_INDIRECT => unsafe { &*value.value.zv },
        _ => value,
    }
}

/// What most values are.
pub enum Plain<'a> {
    /// An int.
    Int(i64),
    /// A string.
    Text(&'a ZendStr),
    /// Anything else, a reference to one of these included.
    Other,
}

/// A value, if it is what most are.
#[inline]
pub fn plain(value: &Zval) -> Plain<'_> {
    match type_of(value) {
        // SAFETY: the type says which member of the value is set; so for the next one.
        IS_STRING => Plain::Text(unsafe { &*value.value.str_ }),
        // SAFETY: see above.
        IS_LONG => Plain::Int(unsafe { value.value.lval }),
        _ => Plain::Other,
    }
}

/// A scalar as a column's value; `None` for what is no scalar.
#[inline]
pub fn scalar(value: &Zval) -> Option<Value<'_>> {
    let value = dereference(value);
    Some(match type_of(value) {
        IS_NULL => Value::Null,
        IS_FALSE => Value::Bool(false),
        IS_TRUE => Value::Bool(true),
        // SAFETY: the type says which member of the value is set; so for the next two.
        IS_LONG => Value::Int(unsafe { value.value.lval }),
        // SAFETY: see above.
        IS_DOUBLE => Value::Float(unsafe { value.value.dval }),
        // SAFETY: see above.
        IS_STRING => Value::Bytes(bytes(unsafe { &*value.value.str_ })),
        _ => return None,
    })
}

/// The string in a value, if it is one.
#[inline]
pub fn text(value: &Zval) -> Option<&ZendStr> {
    // SAFETY: the type says that the string member is set.
    (type_of(value) == IS_STRING).then(|| unsafe { &*value.value.str_ })
}

/// The int in a value, if it is one.
#[inline]
pub fn int(value: &Zval) -> Option<i64> {
    if type_of(value) != IS_LONG {
        return None;
    }
    // SAFETY: the type says that the int member is set.
    Some(unsafe { value.value.lval })
}

/// The array in a value, if it is one.
#[inline]
pub fn table(value: &Zval) -> Option<&ZendHashTable> {
    // SAFETY: the type says that the array member is set.
    (type_of(value) == IS_ARRAY).then(|| unsafe { &*value.value.arr })
}

/// The name by which PHP calls a value's type: a class for objects.
pub fn type_name(value: &Zval) -> String {
    if let Some(object) = value.object() {
        return object
            .get_class_name()
            .unwrap_or_else(|_| "object".to_owned());
    }
    // SAFETY: returns a static string for any zval.
    unsafe { CStr::from_ptr(zend_zval_type_name(value)) }
        .to_string_lossy()
        .into_owned()
}

/// Whether an object is a `DateTimeInterface`.
pub fn is_date(object: &ZendObject) -> bool {
    // SAFETY: the date extension is always compiled in and registers the interface before
    // any other module starts.
    let interface = unsafe { php_date_get_interface_ce().as_ref() };
    interface.is_some_and(|ce| object.instance_of(ce))
}

/// The value behind a case of a backed enum; `None` for a case without one.
pub fn enum_backing(case: &ZendObject) -> Option<&Zval> {
    // SAFETY: a live object's class is alive, and its default properties are counted there.
    let properties = unsafe { (*case.ce).default_properties_count };
    if properties < 2 {
        return None;
    }
    // SAFETY: the properties lie one behind the other from `properties_table` on; of an enum
    // the first is the name and the second, where there is one, the value
    // (zend_enum_fetch_case_value).
    Some(unsafe { &*case.properties_table.as_ptr().add(1) })
}

/// Whether an exception is waiting to be handled.
pub fn has_exception() -> bool {
    ExecutorGlobals::has_exception()
}

/// Runs PHP's signal handlers if signals came in. `false` when whoever waits should stop:
/// a handler threw, or the script's time is up.
pub fn run_interrupts(ex: &mut ExecuteData) -> bool {
    if has_exception() {
        // PHP would forget the signals instead of calling their handlers (php-src #23624).
        return false;
    }
    let (interrupted, timed_out) = {
        let globals = ExecutorGlobals::get();
        (globals.vm_interrupt.value, globals.timed_out.value)
    };
    if timed_out {
        return false;
    }
    if interrupted {
        ExecutorGlobals::get_mut().cancel_interrupt();
        // SAFETY: set by extensions at start-up and never changed later.
        if let Some(interrupt) = unsafe { ext_php_rs::ffi::zend_interrupt_function } {
            // SAFETY: called as the VM does, with the frame that is executing.
            unsafe { interrupt(ex) };
        }
    }
    !has_exception()
}

/// An INI setting's value.
pub fn ini(name: &str) -> Option<String> {
    let name = CString::new(name).ok()?;
    // SAFETY: `name` is a C string of that length; the result is null or a C string owned
    // by the INI table, copied at once.
    let value = unsafe { zend_ini_string(name.as_ptr(), name.as_bytes().len(), 0).as_ref() }?;
    // SAFETY: see above.
    let value = unsafe { CStr::from_ptr(value) };
    Some(value.to_string_lossy().into_owned())
}

/// An environment variable of this process. In a thread-safe build another thread may be in
/// `putenv`, and PHP's lock is taken, of which Rust's knows nothing.
pub fn environment(name: &str) -> Option<String> {
    let lock = |symbol: &CStr| {
        if !ext_php_rs::PHP_ZTS {
            return;
        }
        // SAFETY: a symbol's name is looked for among what the process has loaded.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, symbol.as_ptr()) };
        if !found.is_null() {
            // SAFETY: TSRM.h declares both functions so, and nothing else has these names.
            let found: unsafe extern "C" fn() = unsafe { std::mem::transmute(found) };
            // SAFETY: the lock is not held by this thread, and given back below.
            unsafe { found() };
        }
    };
    lock(c"tsrm_env_lock");
    let value = std::env::var(name).ok();
    lock(c"tsrm_env_unlock");
    value
}

/// Prints the module's INI settings for `phpinfo()`.
pub fn print_ini(module: *mut ModuleEntry) {
    // SAFETY: PHP passed this pointer to the module's own info function.
    unsafe { display_ini_entries(module) };
}

/// One row of `phpinfo()`. PHP takes C strings: a NUL byte would end one.
pub fn info_row(name: &str, value: &str) {
    let text = |text: &str| CString::new(text.replace('\0', " ")).unwrap_or_default();
    let (name, value) = (text(name), text(value));
    // SAFETY: two C strings for the two columns, which PHP copies out before it returns.
    unsafe { ext_php_rs::ffi::php_info_print_table_row(2, name.as_ptr(), value.as_ptr()) };
}

/// What of PHP this was built for, as PHP compares it when it loads the module.
pub fn api() -> String {
    let threads = if ext_php_rs::PHP_ZTS { "ZTS" } else { "NTS" };
    let debug = if ext_php_rs::PHP_DEBUG { ", debug" } else { "" };
    format!("{}, {threads}{debug}", ext_php_rs::ffi::ZEND_MODULE_API_NO)
}

/// Raises an `E_WARNING`. Where no code of PHP runs (any more), the application's error handler is
/// not asked: nobody could catch what it throws, and PHP would leave by a jump over our frames.
pub fn warn(message: &str) {
    if let Ok(message) = CString::new(message.replace('\0', " ")) {
        let asked = |levels: c_int| {
            let mut globals = ExecutorGlobals::get_mut();
            std::mem::replace(&mut globals.user_error_handler_error_reporting, levels)
        };
        let is_alone = ExecutorGlobals::get().current_execute_data.is_null();
        let levels = is_alone.then(|| asked(0));
        // SAFETY: a null docref and a format whose one %s takes a C string.
        unsafe {
            ext_php_rs::ffi::php_error_docref(
                std::ptr::null(),
                ext_php_rs::ffi::E_WARNING.cast_signed(),
                c"%s".as_ptr(),
                message.as_ptr(),
            );
        }
        levels.map(asked);
    }
}

/// What a parameter is named by: a C string, and from PHP 8.6 on one of PHP's strings.
trait ParameterName {
    fn is(self, name: &CStr) -> bool;
}

impl ParameterName for *const c_char {
    fn is(self, name: &CStr) -> bool {
        // SAFETY: PHP's own table of an internal function's parameters, each of which has a name.
        unsafe { CStr::from_ptr(self) == name }
    }
}

impl ParameterName for *mut ZendStr {
    fn is(self, name: &CStr) -> bool {
        // SAFETY: as above.
        unsafe { (*self).as_bytes() == name.to_bytes() }
    }
}

/// Gives the parameters named `key` their union type, which ext-php-rs cannot express.
pub fn set_key_types(class: &mut ClassEntry) {
    for (_, method) in elements(&class.function_table) {
        // SAFETY: a class's function table holds pointers to its functions, and all
        // functions of an internal class are internal ones.
        let method = unsafe { &(*method.value.ptr.cast::<zend_function>()).internal_function };
        for at in 0..method.num_args as usize {
            // SAFETY: `arg_info` points at `num_args` entries, which belong to this class's
            // registration and are not read by anyone else while the module starts.
            let argument = unsafe { &mut *method.arg_info.add(at) };
            if argument.name.is(c"key") {
                argument.type_.type_mask = KEY_TYPE_MASK;
            }
        }
    }
}

/// PHP's own exception classes that ours extend.
#[derive(Debug, Clone, Copy)]
pub enum Parent {
    /// `InvalidArgumentException`
    InvalidArgument,
    /// `RuntimeException`
    Runtime,
    /// `LogicException`
    Logic,
}

/// The class entry of a parent exception.
pub fn parent_class(parent: Parent) -> &'static ClassEntry {
    // SAFETY: SPL is always compiled in and registers its classes before any other module
    // starts; they live as long as the process.
    unsafe {
        match parent {
            Parent::InvalidArgument => &*spl_ce_InvalidArgumentException,
            Parent::Runtime => &*spl_ce_RuntimeException,
            Parent::Logic => &*spl_ce_LogicException,
        }
    }
}

/// A class entry that was stored when the module started.
///
/// # Panics
/// Before that.
pub fn class_at(entry: *mut ClassEntry) -> &'static ClassEntry {
    assert!(!entry.is_null(), "the class is registered at module start");
    // SAFETY: internal classes live as long as the process.
    unsafe { &*entry }
}

/// A method's `$this` data for as long as the call lasts.
pub fn during_call<T>(data: *const T) -> &'static T {
    // SAFETY: PHP holds a reference to `$this` while one of its methods runs, so the object
    // and the data inside it stay where they are; callers do not keep it past the call.
    unsafe { &*data }
}

/// The executing frame, to borrow arguments from while the frame itself is passed on.
pub fn frame(ex: &ExecuteData) -> &'static ExecuteData {
    // SAFETY: the frame lives until the method returns, and its arguments with it; callers
    // do not keep them past the call.
    unsafe { &*std::ptr::from_ref(ex) }
}

/// The symbol by which PHP finds the module.
macro_rules! export_module {
    ($entry:path) => {
        /// Called by PHP when it loads the module.
        // SAFETY: PHP looks for exactly this name in a module's own handle.
        #[allow(unsafe_code)]
        #[unsafe(no_mangle)]
        pub extern "C" fn get_module() -> *mut ModuleEntry {
            $entry()
        }
    };
}
pub(super) use export_module;
