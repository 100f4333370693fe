//! PHP arrays as settings, with what environment and INI say.

use ext_php_rs::types::{ZendCallable, ZendHashTable, Zval};

use super::exceptions::{Exception, Thrown};
use super::zend;
use crate::core::config::{Config, OPTIONS, OptionSpec, Setting, Takes};
use crate::core::value::Value;

/// Deeper arrays than any option has; a recursive array ends here.
const DEPTH_MAX: usize = 8;

/// Checks options given as a PHP array, over `positional` ones.
///
/// # Errors
/// A `ConfigurationException`.
pub fn config(
    positional: Vec<(&str, Option<i64>)>,
    options: Option<&ZendHashTable>,
) -> Result<Config, Thrown> {
    let positional = positional
        .into_iter()
        .filter_map(|(name, n)| n.map(|n| (name.to_owned(), Setting::Int(n))));
    let given = options.into_iter().flat_map(|table| items(table, 0));
    let given = given.filter(|(name, _)| !is_callback(name.as_bytes()));
    let all: Vec<_> = positional.chain(given).collect();
    Ok(Config::from_options(&all, fallback)?)
}

/// Whether there are options of the buffer, and not of the object alone.
pub fn has_options(options: Option<&ZendHashTable>) -> bool {
    let mut names = options
        .into_iter()
        .flat_map(zend::elements)
        .map(|(name, _)| name);
    names.any(|name| name.is_none_or(|n| !is_callback(n.bytes())))
}

/// `on_quarantine` as a closure: what may be called here may be called wherever it is told.
///
/// # Errors
/// A `ConfigurationException` when it cannot be called.
pub fn on_quarantine(options: Option<&ZendHashTable>) -> Result<Option<Zval>, Thrown> {
    let given = options.into_iter().flat_map(zend::elements);
    let mut given = given.filter(|(name, _)| name.is_some_and(|n| is_callback(n.bytes())));
    let Some((_, value)) = given.next().filter(|(_, value)| !value.is_null()) else {
        return Ok(None);
    };
    if !value.is_callable() {
        return Err(Thrown::New(
            Exception::ConfigurationException,
            format!(
                "Option \"on_quarantine\" is {}; it takes a callable.",
                zend::type_name(value)
            ),
        ));
    }
    let closure = ZendCallable::try_from_name("Closure::fromCallable");
    match closure.and_then(|make| make.try_call(vec![value])) {
        Ok(closure) => Ok(Some(closure)),
        Err(_) => Err(Thrown::Already),
    }
}

fn is_callback(name: &[u8]) -> bool {
    let mut callables = OPTIONS.iter().filter(|o| o.takes == Takes::Callable);
    callables.any(|o| o.name.as_bytes() == name)
}

fn fallback(option: &OptionSpec) -> Option<(String, String)> {
    let env = option
        .env
        .and_then(|name| Some((name.to_owned(), zend::environment(name)?)));
    env.filter(|(_, value)| !value.is_empty()).or_else(|| {
        let name = format!("write_buffer.{}", option.name);
        let value = zend::ini(&name).filter(|_| option.ini)?;
        Some((name, value))
    })
}

fn items(table: &ZendHashTable, depth: usize) -> Vec<(String, Setting)> {
    let name = |(at, (key, value)): (usize, (Option<zend::Key>, &Zval))| {
        let key = key.map_or_else(
            || at.to_string(),
            |k| String::from_utf8_lossy(k.bytes()).into_owned(),
        );
        (key, setting(value, depth))
    };
    zend::elements(table).enumerate().map(name).collect()
}

fn setting(value: &Zval, depth: usize) -> Setting {
    if let Some(table) = zend::table(value) {
        return if depth < DEPTH_MAX {
            Setting::Array(items(table, depth + 1))
        } else {
            Setting::Other("array nested too deeply".to_owned())
        };
    }
    match zend::scalar(value) {
        None => Setting::Other(zend::type_name(value)),
        Some(Value::Null) => Setting::Null,
        Some(Value::Bool(b)) => Setting::Bool(b),
        Some(Value::Int(n)) => Setting::Int(n),
        Some(Value::Float(x)) => Setting::Float(x),
        Some(Value::Bytes(bytes)) => match std::str::from_utf8(bytes) {
            Ok(text) => Setting::Text(text.to_owned()),
            Err(_) => Setting::Other("string that is not UTF-8".to_owned()),
        },
    }
}
