//! `WriteBuffer\WriteBufferInterface`, and how methods are declared.

use std::sync::atomic::{AtomicPtr, Ordering};

use ext_php_rs::args::{Arg, ArgInfoTables};
use ext_php_rs::builders::{ClassBuilder, FunctionBuilder};
use ext_php_rs::class::ClassEntryInfo;
use ext_php_rs::error::Result;
use ext_php_rs::flags::{ClassFlags, DataType, MethodFlags};
use ext_php_rs::types::Zval;
use ext_php_rs::zend::{ClassEntry, ExecuteData};

use super::exceptions::stored;
use super::flush_result::FlushResult;

/// A method's body.
pub type Handler = extern "C" fn(&mut ExecuteData, &mut Zval);

/// A method's name, parameters, how many of them are required, and result.
pub struct Signature {
    pub name: &'static str,
    pub parameters: Vec<Arg<'static>>,
    pub required: usize,
    pub result: DataType,
    pub nullable: bool,
}

impl Signature {
    fn new(name: &'static str, parameters: Vec<Arg<'static>>, result: DataType) -> Self {
        Self {
            name,
            required: parameters.len(),
            parameters,
            result,
            nullable: false,
        }
    }

    fn optional(mut self) -> Self {
        self.required -= 1;
        self
    }

    /// The method with its body.
    pub fn with(self, handler: Handler) -> FunctionBuilder<'static> {
        let function = FunctionBuilder::new(self.name, handler);
        self.build(function)
    }

    fn build(self, mut function: FunctionBuilder<'static>) -> FunctionBuilder<'static> {
        for parameter in self.parameters {
            function = function.arg(parameter);
        }
        function
            .required_args(self.required)
            .returns(self.result, false, self.nullable)
    }
}

/// A method without parameters, or with all of them added already.
pub fn returning(function: FunctionBuilder<'static>, result: DataType) -> FunctionBuilder<'static> {
    function.returns(result, false, false)
}

fn int(name: &str) -> Arg<'static> {
    Arg::new(name, DataType::Long)
}

fn text(name: &str) -> Arg<'static> {
    Arg::new(name, DataType::String)
}

fn array(name: &str) -> Arg<'static> {
    Arg::new(name, DataType::Array)
}

fn timeout() -> Arg<'static> {
    int("timeoutMs").allow_null().default("null")
}

fn result_object() -> DataType {
    DataType::object(<FlushResult as ext_php_rs::class::RegisteredClass>::CLASS_NAME)
}

/// The methods of the interface, in its order.
pub fn interface_methods() -> Vec<Signature> {
    vec![
        Signature::new(
            "addOrder",
            vec![int("orderId"), array("data")],
            DataType::Void,
        ),
        Signature::new("addTrade", vec![array("data")], DataType::Void),
        Signature::new(
            "addBalanceUpdate",
            vec![int("userId"), text("currency"), array("changes")],
            DataType::Void,
        ),
        Signature::new("flush", vec![], result_object()),
        Signature::new("shouldFlush", vec![], DataType::Bool),
        Signature::new("getStats", vec![], DataType::Array),
        Signature::new("clear", vec![], DataType::Void),
    ]
}

/// The methods that the class has beyond the interface, and `flush` with its parameter.
pub fn class_methods() -> Vec<Signature> {
    // The key's union type is set when the class is registered.
    let key = || Arg::new("key", DataType::Mixed);
    let mut found = Signature::new("find", vec![text("table"), key()], DataType::Array);
    found.nullable = true;
    let mut methods = vec![
        Signature::new("add", vec![text("table"), array("row")], DataType::Long),
        Signature::new("delete", vec![text("table"), key()], DataType::Long),
        Signature::new("beginTransaction", vec![], DataType::Void),
        Signature::new("commit", vec![], DataType::Long),
        Signature::new("rollBack", vec![], DataType::Void),
        Signature::new(
            "transaction",
            vec![Arg::new("callback", DataType::Callable)],
            DataType::Mixed,
        ),
        found,
        Signature::new("count", vec![], DataType::Long),
        Signature::new("sequence", vec![], DataType::Long),
        Signature::new("committedSequence", vec![], DataType::Long),
        Signature::new("waitFor", vec![int("sequence"), timeout()], DataType::Bool).optional(),
        Signature::new("flush", vec![timeout()], result_object()).optional(),
        Signature::new("close", vec![timeout()], result_object()).optional(),
        Signature::new("dispatch", vec![], DataType::Long),
        Signature::new("getTimeSinceLastFlush", vec![], DataType::Double),
        Signature::new(
            "setLastFlushTime",
            vec![Arg::new("timeMs", DataType::Double)],
            DataType::Void,
        ),
    ];
    methods.extend(
        interface_methods()
            .into_iter()
            .filter(|m| m.name != "flush"),
    );
    methods
}

static ENTRY: AtomicPtr<ClassEntry> = AtomicPtr::new(std::ptr::null_mut());

fn entry() -> &'static ClassEntry {
    stored(&ENTRY)
}

/// The interface, for classes that implement it.
pub fn interface() -> ClassEntryInfo {
    (entry, "\\WriteBuffer\\WriteBufferInterface")
}

/// Registers the interface.
///
/// # Errors
/// When PHP refuses it.
pub fn register() -> Result<()> {
    let mut class =
        ClassBuilder::new("WriteBuffer\\WriteBufferInterface").flags(ClassFlags::Interface);
    for signature in interface_methods() {
        let function = FunctionBuilder::new_abstract(signature.name);
        class = class.method(
            signature.build(function),
            MethodFlags::Public | MethodFlags::Abstract,
        );
    }
    class
        .registration(|entry: &'static mut ClassEntry, arguments: ArgInfoTables| {
            ENTRY.store(entry, Ordering::Release);
            // PHP reads them for the life of the process.
            Box::leak(arguments);
        })
        .register()
}
