//! `WriteBuffer\FlushResult`.

use ext_php_rs::args::Arg;
use ext_php_rs::builders::{ClassBuilder, FunctionBuilder};
use ext_php_rs::class::{ClassMetadata, ConstructorMeta, ConstructorResult, RegisteredClass};
use ext_php_rs::convert::{IntoZval, IntoZvalDyn};
use ext_php_rs::describe::DocComments;
use ext_php_rs::error::Result;
use ext_php_rs::flags::{ClassFlags, ConstantFlags, DataType, MethodFlags};
use ext_php_rs::types::{ZendClassObject, ZendHashTable, Zval};
use ext_php_rs::zend::{ExecuteData, run_handler};

use super::interface::{Handler, returning};
use super::zend;

/// What a flush did.
#[derive(Debug, Clone, Default)]
pub struct FlushResult {
    pub orders: i64,
    pub trades: i64,
    pub balances: i64,
    /// Rows of tables other than these three.
    pub others: i64,
    pub duration_ms: f64,
    pub errors: Vec<String>,
    pub quarantined: i64,
    pub pending: i64,
    pub sequence: i64,
}

impl FlushResult {
    fn total(&self) -> i64 {
        self.orders + self.trades + self.balances + self.others
    }

    /// Makes it what a method returns.
    pub fn return_in(self, retval: &mut Zval) {
        // Setting a live object on a live zval cannot fail.
        let _ = ZendClassObject::new(self).set_zval(retval, false);
    }
}

static METADATA: ClassMetadata<FlushResult> = ClassMetadata::new(&[]);

impl RegisteredClass for FlushResult {
    const CLASS_NAME: &'static str = "WriteBuffer\\FlushResult";
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
                    .arg(Arg::new("ordersWritten", DataType::Long).default("0"))
                    .arg(Arg::new("tradesWritten", DataType::Long).default("0"))
                    .arg(Arg::new("balancesWritten", DataType::Long).default("0"))
                    .arg(Arg::new("durationMs", DataType::Double).default("0.0"))
                    .arg(Arg::new("errors", DataType::Array).default("[]"))
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

fn construct(ex: &mut ExecuteData) -> ConstructorResult<FlushResult> {
    let Some(([orders, trades, balances], duration_ms, errors)) = zend::flush_result(ex) else {
        return ConstructorResult::ArgError;
    };
    let text = |value: &Zval| value.coerce_to_string().unwrap_or_default();
    let errors = errors
        .into_iter()
        .flat_map(zend::elements)
        .map(|(_, value)| text(value))
        .collect();
    ConstructorResult::Ok(FlushResult {
        orders,
        trades,
        balances,
        duration_ms,
        errors,
        ..FlushResult::default()
    })
}

macro_rules! getter {
    ($name:ident, |$this:ident, $retval:ident| $body:expr) => {
        extern "C" fn $name(ex: &mut ExecuteData, $retval: &mut Zval) {
            run_handler(std::panic::AssertUnwindSafe(|| {
                if zend::no_arguments(ex).is_none() {
                    return;
                }
                if let Some($this) = zend::this::<FlushResult>(ex) {
                    $body
                }
            }));
        }
    };
}

getter!(get_orders, |this, retval| retval.set_long(this.orders));
getter!(get_trades, |this, retval| retval.set_long(this.trades));
getter!(get_balances, |this, retval| retval.set_long(this.balances));
getter!(get_total, |this, retval| retval.set_long(this.total()));
getter!(get_duration, |this, retval| retval
    .set_double(this.duration_ms));
getter!(get_errors, |this, retval| retval
    .set_hashtable(list(&this.errors)));
getter!(is_success, |this, retval| retval
    .set_bool(this.errors.is_empty()));
getter!(get_quarantined, |this, retval| retval
    .set_long(this.quarantined));
getter!(get_pending, |this, retval| retval.set_long(this.pending));
getter!(get_sequence, |this, retval| retval.set_long(this.sequence));
getter!(to_array, |this, retval| {
    let mut array = ZendHashTable::new();
    let _ = array.insert("orders_written", this.orders);
    let _ = array.insert("trades_written", this.trades);
    let _ = array.insert("balances_written", this.balances);
    let _ = array.insert("total_written", this.total());
    let _ = array.insert("duration_ms", this.duration_ms);
    let _ = array.insert("errors", list(&this.errors));
    let _ = array.insert("success", this.errors.is_empty());
    let _ = array.insert("quarantined", this.quarantined);
    let _ = array.insert("pending", this.pending);
    let _ = array.insert("sequence", this.sequence);
    retval.set_hashtable(array);
});

fn list(texts: &[String]) -> ext_php_rs::boxed::ZBox<ZendHashTable> {
    let mut array = ZendHashTable::new();
    for text in texts {
        let _ = array.push(text.as_str());
    }
    array
}

extern "C" fn empty(ex: &mut ExecuteData, retval: &mut Zval) {
    run_handler(std::panic::AssertUnwindSafe(|| {
        if zend::no_arguments(ex).is_some() {
            FlushResult::default().return_in(retval);
        }
    }));
}

extern "C" fn failed(ex: &mut ExecuteData, retval: &mut Zval) {
    run_handler(std::panic::AssertUnwindSafe(|| {
        if let Some(error) = zend::string(ex) {
            let error = String::from_utf8_lossy(zend::bytes(error)).into_owned();
            FlushResult {
                errors: vec![error],
                ..FlushResult::default()
            }
            .return_in(retval);
        }
    }));
}

/// Registers the class.
///
/// # Errors
/// When PHP refuses it.
pub fn register() -> Result<()> {
    let public = MethodFlags::Public;
    let of_class = || DataType::object(FlushResult::CLASS_NAME);
    let mut class = ClassBuilder::new(FlushResult::CLASS_NAME)
        .flags(ClassFlags::Final)
        .object_override::<FlushResult>();
    let getters: [(&str, Handler, DataType); 11] = [
        ("getOrdersWritten", get_orders, DataType::Long),
        ("getTradesWritten", get_trades, DataType::Long),
        ("getBalancesWritten", get_balances, DataType::Long),
        ("getTotalWritten", get_total, DataType::Long),
        ("getDurationMs", get_duration, DataType::Double),
        ("getErrors", get_errors, DataType::Array),
        ("isSuccess", is_success, DataType::Bool),
        ("toArray", to_array, DataType::Array),
        ("getQuarantined", get_quarantined, DataType::Long),
        ("getPending", get_pending, DataType::Long),
        ("getSequence", get_sequence, DataType::Long),
    ];
    for (name, handler, result) in getters {
        class = class.method(
            returning(FunctionBuilder::new(name, handler), result),
            public,
        );
    }
    class
        .method(
            returning(FunctionBuilder::new("empty", empty), of_class()),
            public | MethodFlags::Static,
        )
        .method(
            returning(
                FunctionBuilder::new("failed", failed).arg(Arg::new("error", DataType::String)),
                of_class(),
            ),
            public | MethodFlags::Static,
        )
        .registration(|entry, arguments| {
            METADATA.set_ce(entry);
            METADATA.set_arg_info(arguments);
        })
        .register()
}
