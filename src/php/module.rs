//! The module: what happens when PHP loads it, begins and ends requests, and unloads it.

use std::ffi::CString;

use ext_php_rs::builders::ModuleBuilder;
use ext_php_rs::flags::IniEntryPermission;
use ext_php_rs::zend::{IniEntryDef, ModuleEntry, StaticModuleEntry, run_handler};

use super::{exceptions, flush_result, handle, info, interface, row, write_buffer, zend};
use crate::core::config::{OPTIONS, OptionSpec, Takes};
use crate::engine::{process, registry};

const SUCCESS: i32 = 0;
const FAILURE: i32 = -1;

zend::export_module!(module_entry);

fn module_entry() -> *mut ModuleEntry {
    static MODULE: StaticModuleEntry = StaticModuleEntry::new();
    MODULE.get_or_init(|| {
        let built = ModuleBuilder::new("write_buffer", env!("CARGO_PKG_VERSION"))
            .startup_function(startup)
            .shutdown_function(shutdown)
            .request_startup_function(request_startup)
            .request_shutdown_function(request_shutdown)
            .info_function(info::info)
            .try_into();
        match built {
            Ok((entry, _, owned)) => (entry, owned),
            // Only a name with a NUL byte can fail, and these are literals.
            Err(error) => unreachable!("{error}"),
        }
    })
}

extern "C" fn startup(_kind: i32, module: i32) -> i32 {
    register_ini(module);
    let registered = exceptions::register()
        .and_then(|()| interface::register())
        .and_then(|()| flush_result::register())
        .and_then(|()| write_buffer::register());
    match registered {
        Ok(()) => SUCCESS,
        Err(error) => {
            tell(&format!("write_buffer: the module cannot start: {error}"));
            FAILURE
        }
    }
}

/// One setting an option, with the option's own default, so that `phpinfo()` shows it.
fn register_ini(module: i32) {
    let text = |text: String| -> &'static std::ffi::CStr {
        Box::leak(CString::new(text).unwrap_or_default().into_boxed_c_str())
    };
    let entry = |option: &OptionSpec| {
        let default = match option.takes {
            Takes::Int { default, .. } => default.to_string(),
            Takes::Word { default, .. } => default.to_owned(),
            Takes::Text | Takes::Map | Takes::Callable => String::new(),
        };
        IniEntryDef::new(
            text(format!("write_buffer.{}", option.name)),
            text(default),
            IniEntryPermission::All,
        )
    };
    let mut entries: Vec<_> = OPTIONS.iter().filter(|o| o.ini).map(entry).collect();
    entries.push(IniEntryDef::end());
    // PHP keeps pointers into the table for the life of the process.
    IniEntryDef::register(Box::leak(entries.into_boxed_slice()), module);
}

extern "C" fn request_startup(_kind: i32, _module: i32) -> i32 {
    row::request_started();
    SUCCESS
}

/// Named buffers outlive the request; a transaction that a request left open does not.
extern "C" fn request_shutdown(_kind: i32, _module: i32) -> i32 {
    run_handler(|| {
        // All of them before anything is said: output may end a request, too.
        let said: Vec<_> = registry::named()
            .iter()
            .filter_map(|b| handle::roll_back_forgotten(b))
            .collect();
        said.iter().for_each(|message| zend::warn(message));
    });
    SUCCESS
}

extern "C" fn shutdown(_kind: i32, _module: i32) -> i32 {
    // No panic may leave a module hook.
    let drained = std::panic::catch_unwind(registry::drain_all);
    for message in drained
        .unwrap_or_else(|_| vec!["write_buffer: the drain at shutdown failed on a bug".to_owned()])
    {
        tell(&message);
    }
    SUCCESS
}

/// PHP's own log is closed by now, or not open yet.
fn tell(message: &str) {
    process::say(message);
}
