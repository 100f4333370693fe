//! The class `WriteBuffer`: its methods as PHP calls them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ext_php_rs::args::Arg;
use ext_php_rs::boxed::ZBox;
use ext_php_rs::builders::{ClassBuilder, ClassProperty, FunctionBuilder};
use ext_php_rs::class::{ClassMetadata, ConstructorMeta, ConstructorResult, RegisteredClass};
use ext_php_rs::convert::{IntoZval, IntoZvalDyn};
use ext_php_rs::describe::DocComments;
use ext_php_rs::error::Result;
use ext_php_rs::flags::{ClassFlags, ConstantFlags, DataType, MethodFlags, PropertyFlags};
use ext_php_rs::types::{ZendCallable, ZendClassObject, ZendHashTable, Zval};
use ext_php_rs::zend::{ExecuteData, ce, run_handler};

use super::exceptions::{Exception, Thrown};
use super::handle::Handle;
use super::interface::{Handler, class_methods, interface};
use super::{callback, settings, stats, zend};
use crate::core::Sequence;
use crate::core::config::{BALANCES, ORDERS, TRADES, is_buffer_name};
use crate::core::merge::{PendingRow, PendingValue};
use crate::core::value::Value;

static METADATA: ClassMetadata<Handle> = ClassMetadata::new(&[]);

impl RegisteredClass for Handle {
    const CLASS_NAME: &'static str = "WriteBuffer";
    const BUILDER_MODIFIER: Option<fn(ClassBuilder) -> ClassBuilder> = None;
    const EXTENDS: Option<ext_php_rs::class::ClassEntryInfo> = None;
    const IMPLEMENTS: &'static [ext_php_rs::class::ClassEntryInfo] = &[];

    fn get_metadata() -> &'static ClassMetadata<Self> {
        &METADATA
    }

    fn method_builders() -> Vec<(FunctionBuilder<'static>, MethodFlags)> {
        Vec::new()
    }

    fn constructor() -> Option<ConstructorMeta<Self>> {
        Some(ConstructorMeta {
            constructor: construct,
            build_fn: |function| {
                function
                    .not_required()
                    .arg(Arg::new("maxBufferSize", DataType::Long).default("100"))
                    .arg(Arg::new("flushIntervalMs", DataType::Long).default("500"))
                    .arg(Arg::new("maxRetries", DataType::Long).default("3"))
                    .arg(Arg::new("options", DataType::Array).default("[]"))
            },
            flags: None,
        })
    }

    fn constants() -> &'static [(
        &'static str,
        &'static dyn IntoZvalDyn,
        DocComments,
        ConstantFlags,
    )] {
        &[]
    }
}

fn construct(ex: &mut ExecuteData) -> ConstructorResult<Handle> {
    let Some(([size, interval, retries], options)) = zend::constructor(ex) else {
        return ConstructorResult::ArgError;
    };
    // PHP fills what named arguments skip with the declared defaults; environment and INI
    // come before those.
    let has_skipped = zend::has_skipped_arguments(ex);
    let given = |value: Option<i64>, default: i64| value.filter(|n| !has_skipped || *n != default);
    let (size, interval, retries) = (given(size, 100), given(interval, 500), given(retries, 3));
    let positional = vec![
        ("max_buffer_size", size),
        ("flush_interval_ms", interval),
        ("max_retries", retries),
    ];
    let made = settings::on_quarantine(options).and_then(|callback| {
        let config = settings::config(positional, options)?;
        Ok((Handle::private(config, callback.is_some())?, callback))
    });
    match made {
        Ok((handle, callback)) => {
            if let (Some(object), Some(callback)) = (zend::this_object(ex), callback) {
                zend::keep(object, callback);
            }
            ConstructorResult::Ok(handle)
        }
        Err(thrown) => {
            thrown.throw();
            ConstructorResult::ArgError
        }
    }
}

/// Runs a method that may run PHP code or wait.
fn method(
    ex: &mut ExecuteData,
    body: impl FnOnce(&mut ExecuteData) -> std::result::Result<(), Thrown>,
) {
    run_handler(AssertUnwindSafe(|| {
        if let Err(thrown) = body(ex) {
            thrown.throw();
        }
    }));
}

/// Runs a method of the hot path: no `setjmp`, because it runs PHP code only inside
/// [`run_handler`].
#[inline]
fn hot(
    ex: &mut ExecuteData,
    body: impl FnOnce(&mut ExecuteData) -> std::result::Result<(), Thrown>,
) {
    match catch_unwind(AssertUnwindSafe(|| body(ex))) {
        Ok(Ok(())) => {}
        Ok(Err(thrown)) => thrown.throw(),
        Err(_) => run_handler(|| panic!("see the message above; the row was not accepted")),
    }
}

fn handle(ex: &ExecuteData) -> std::result::Result<&'static Handle, Thrown> {
    let handle: Option<*const Handle> = zend::this::<Handle>(ex).map(std::ptr::from_ref);
    handle.map(zend::during_call).ok_or(Thrown::Already)
}

macro_rules! php_method {
    ($how:ident $name:ident($parse:path $(, $argument:pat)?) |$this:ident, $ex:ident, $retval:ident| $body:expr) => {
        extern "C" fn $name(ex: &mut ExecuteData, $retval: &mut Zval) {
            $how(ex, |ex| {
                #[allow(unused_variables)]
                let frame = zend::frame(ex);
                #[allow(irrefutable_let_patterns)]
                let Some(arguments) = $parse(frame) else { return Err(Thrown::Already) };
                $( let $argument = arguments; )?
                let $this = handle(ex)?;
                let $ex = ex;
                let _ = &arguments;
                $body
            });
        }
    };
}

fn sequence(retval: &mut Zval, sequence: Sequence) -> std::result::Result<(), Thrown> {
    retval.set_long(sequence.0.cast_signed());
    Ok(())
}

/// `add` and its like, without a parse when the types are those declared.
fn table_row(ex: &ExecuteData) -> Option<zend::StringAndArray<'_>> {
    let (table, row) = (zend::raw_argument(ex, 0)?, zend::raw_argument(ex, 1)?);
    match (
        zend::text(table),
        zend::table(row),
        zend::raw_argument(ex, 2),
    ) {
        (Some(table), Some(row), None) => Some((table, row)),
        _ => zend::string_array(ex),
    }
}

fn table_row_or_parse(ex: &ExecuteData) -> Option<zend::StringAndArray<'_>> {
    if zend::raw_argument(ex, 1).is_none() {
        zend::string_array(ex)
    } else {
        table_row(ex)
    }
}

fn id_row(ex: &ExecuteData) -> Option<(i64, &ZendHashTable)> {
    match (
        zend::raw_argument(ex, 0).and_then(zend::int),
        zend::raw_argument(ex, 1).and_then(zend::table),
        zend::raw_argument(ex, 2),
    ) {
        (Some(id), Some(row), None) => Some((id, row)),
        _ => zend::int_array(ex),
    }
}

fn balance(ex: &ExecuteData) -> Option<(i64, zend::StringAndArray<'_>)> {
    match (
        zend::raw_argument(ex, 0).and_then(zend::int),
        zend::raw_argument(ex, 1).and_then(zend::text),
        zend::raw_argument(ex, 2).and_then(zend::table),
        zend::raw_argument(ex, 3),
    ) {
        (Some(user), Some(currency), Some(changes), None) => Some((user, (currency, changes))),
        _ => zend::int_string_array(ex),
    }
}

php_method!(hot add(table_row_or_parse, (table, row)) |this, ex, retval| {
    let table = this.table(zend::bytes(table))?;
    sequence(retval, this.add(ex, table, &[], row)?)
});

php_method!(hot add_order(id_row, (id, row)) |this, ex, _retval| {
    this.add(ex, ORDERS, &[("id", Value::Int(id))], row).map(|_| ())
});

php_method!(hot add_trade(zend::array, row) |this, ex, _retval| {
    this.add(ex, TRADES, &[], row).map(|_| ())
});

php_method!(hot add_balance_update(balance, (user, (currency, changes))) |this, ex, _retval| {
    let prefix = [("user_id", Value::Int(user)), ("currency", Value::Bytes(zend::bytes(currency)))];
    this.add(ex, BALANCES, &prefix, changes).map(|_| ())
});

php_method!(method delete(zend::string_key, (table, key)) |this, ex, retval| {
    let sequence_number = this.delete(ex, zend::bytes(table), key)?;
    sequence(retval, sequence_number)
});

php_method!(method begin_transaction(zend::no_arguments) |this, _ex, _retval| {
    this.buffer().begin()?.map_err(Thrown::from)
});

php_method!(method commit(zend::no_arguments) |this, ex, retval| {
    let last = this.commit(ex)?;
    sequence(retval, last)
});

php_method!(method roll_back(zend::no_arguments) |this, _ex, _retval| {
    this.buffer().roll_back().map(|_| ()).map_err(Thrown::from)
});

php_method!(method transaction(zend::callable, callback) |this, ex, retval| {
    this.buffer().begin()?.map_err(Thrown::from)?;
    let object = zend::this_zval(ex);
    let callable = ZendCallable::new(callback);
    let result = callable.and_then(|callable| callable.try_call(vec![&object]));
    if zend::has_exception() {
        // Nothing to say if the callback closed the transaction itself before it threw.
        let _ = this.buffer().roll_back();
        return Err(Thrown::Already);
    }
    match this.commit(ex) {
        Ok(_) => {}
        Err(thrown) => {
            let _ = this.buffer().roll_back();
            return Err(thrown);
        }
    }
    if let Ok(value) = result {
        *retval = value;
    }
    Ok(())
});

php_method!(method find(zend::string_key, (table, key)) |this, _ex, retval| {
    match this.find(zend::bytes(table), key)? {
        None => retval.set_null(),
        Some(row) => retval.set_hashtable(row_array(&row)),
    }
    Ok(())
});

php_method!(method count(zend::no_arguments) |this, _ex, retval| {
    retval.set_long(this.buffer().pending_rows_merged().cast_signed());
    Ok(())
});

php_method!(method sequence_number(zend::no_arguments) |this, _ex, retval| {
    sequence(retval, this.buffer().sequence())
});

php_method!(method committed_sequence(zend::no_arguments) |this, _ex, retval| {
    sequence(retval, this.buffer().resolved())
});

php_method!(method wait_for(zend::int_optional_int, (target, timeout_ms)) |this, ex, retval| {
    let is_settled = this.wait_for(ex, target, timeout_ms);
    callback::tell(ex, this)?;
    retval.set_bool(is_settled);
    Ok(())
});

php_method!(method flush(zend::optional_int, timeout_ms) |this, ex, retval| {
    this.flush(ex, timeout_ms)?.return_in(retval);
    Ok(())
});

php_method!(method close(zend::optional_int, timeout_ms) |this, ex, retval| {
    this.close(ex, timeout_ms)?.return_in(retval);
    Ok(())
});

php_method!(method dispatch(zend::no_arguments) |this, ex, retval| {
    retval.set_long(callback::tell(ex, this)?);
    Ok(())
});

php_method!(method time_since_last_flush(zend::no_arguments) |this, _ex, retval| {
    let last = this.buffer().with_progress(|p| p.last_flush_ms);
    retval.set_double(crate::engine::clock::epoch_ms() - last);
    Ok(())
});

php_method!(method set_last_flush_time(zend::float, time_ms) |this, _ex, _retval| {
    this.buffer().with_progress(|p| p.last_flush_ms = time_ms);
    Ok(())
});

php_method!(method should_flush(zend::no_arguments) |this, _ex, retval| {
    retval.set_bool(this.should_flush());
    Ok(())
});

php_method!(method get_stats(zend::no_arguments) |this, _ex, retval| {
    retval.set_hashtable(stats::of(&this.buffer()));
    Ok(())
});

php_method!(method clear(zend::no_arguments) |this, _ex, _retval| {
    this.buffer().clear()?;
    Ok(())
});

extern "C" fn open(ex: &mut ExecuteData, retval: &mut Zval) {
    method(ex, |ex| {
        let Some((name, options)) = zend::string_optional_array(ex) else {
            return Err(Thrown::Already);
        };
        let name = String::from_utf8_lossy(zend::bytes(name)).into_owned();
        if !is_buffer_name(&name) {
            return Err(Thrown::New(
                Exception::ConfigurationException,
                format!(
                    "Buffer name {name:?} is not allowed; use 1 to 64 of A-Z, a-z, 0-9, '_', '-' and '.'."
                ),
            ));
        }
        let callback = settings::on_quarantine(options)?;
        let has_options = settings::has_options(options);
        let mut config = settings::config(Vec::new(), options)?;
        config.name = name;
        let handle = Handle::named(config, has_options, callback.is_some())?;
        let mut object = ZendClassObject::new(handle);
        if let Some(callback) = callback {
            zend::keep(object.get_mut_zend_obj(), callback);
        }
        // Setting a live object on a live zval cannot fail.
        let _ = object.set_zval(retval, false);
        Ok(())
    });
}

fn row_array(row: &PendingRow) -> ZBox<ZendHashTable> {
    let mut array = ZendHashTable::new();
    for (name, _, value) in &row.columns {
        let mut cell = Zval::new();
        match value {
            PendingValue::Null => cell.set_null(),
            PendingValue::Bool(b) => cell.set_bool(*b),
            PendingValue::Int(n) => cell.set_long(*n),
            PendingValue::Float(x) => cell.set_double(*x),
            PendingValue::Bytes(bytes) => cell.set_binary(bytes.clone()),
            PendingValue::Sum(sum) => {
                let _ = cell.set_string(&sum.to_string(), false);
            }
        }
        let _ = array.insert(name.as_str(), cell);
    }
    array
}

fn body(name: &str) -> Option<Handler> {
    Some(match name {
        "add" => add,
        "addOrder" => add_order,
        "addTrade" => add_trade,
        "addBalanceUpdate" => add_balance_update,
        "delete" => delete,
        "beginTransaction" => begin_transaction,
        "commit" => commit,
        "rollBack" => roll_back,
        "transaction" => transaction,
        "find" => find,
        "count" => count,
        "sequence" => sequence_number,
        "committedSequence" => committed_sequence,
        "waitFor" => wait_for,
        "flush" => flush,
        "close" => close,
        "dispatch" => dispatch,
        "getTimeSinceLastFlush" => time_since_last_flush,
        "setLastFlushTime" => set_last_flush_time,
        "shouldFlush" => should_flush,
        "getStats" => get_stats,
        "clear" => clear,
        _ => return None,
    })
}

/// Where [`zend::keep`] puts `on_quarantine`.
fn kept_property() -> ClassProperty {
    ClassProperty {
        name: "onQuarantine".to_owned(),
        flags: PropertyFlags::Private,
        default: None,
        docs: &[],
        ty: None,
        nullable: true,
        readonly: false,
        default_stub: None,
    }
}

/// Registers the class.
///
/// # Errors
/// When PHP refuses it.
pub fn register() -> Result<()> {
    let open = FunctionBuilder::new("open", open)
        .arg(Arg::new("name", DataType::String))
        .arg(Arg::new("options", DataType::Array).default("[]"))
        .required_args(1)
        .returns(DataType::object(Handle::CLASS_NAME), false, false);
    let mut class = ClassBuilder::new(Handle::CLASS_NAME)
        .flags(ClassFlags::Final)
        .object_override::<Handle>()
        .implements(interface())
        .implements((ce::countable, "\\Countable"))
        .property(kept_property())
        .method(open, MethodFlags::Public | MethodFlags::Static);
    for signature in class_methods() {
        if let Some(handler) = body(signature.name) {
            class = class.method(signature.with(handler), MethodFlags::Public);
        }
    }
    class
        .registration(|entry, arguments| {
            zend::set_key_types(entry);
            METADATA.set_ce(entry);
            METADATA.set_arg_info(arguments);
        })
        .register()
}
