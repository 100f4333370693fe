//! `on_quarantine`: PHP code that is told of groups in quarantine.
//!
//! The writer calls nobody: it keeps what is to be told (`engine/news.rs`), and PHP's thread
//! tells it in methods that wait anyway, and in `dispatch`. No lock is held meanwhile.

use ext_php_rs::boxed::ZBox;
use ext_php_rs::types::{ZendCallable, ZendHashTable, Zval};
use ext_php_rs::zend::ExecuteData;
use serde_json::Value as Json;

use super::exceptions::Thrown;
use super::handle::Handle;
use super::zend;
use crate::engine::news::Told;

/// Calls back for each group that is known of by now; returns how many those were. Nothing
/// where a callback calls.
///
/// # Errors
/// When the callback threw: groups after that one are told the next time.
pub fn tell(ex: &ExecuteData, handle: &Handle) -> Result<i64, Thrown> {
    if zend::has_exception() || handle.telling.get() {
        return Ok(0);
    }
    let Some(callback) = zend::kept(ex) else {
        return Ok(0);
    };
    handle.telling.set(true);
    let told = tell_all(&callback, handle);
    handle.telling.set(false);
    told
}

fn tell_all(callback: &Zval, handle: &Handle) -> Result<i64, Thrown> {
    let known = handle.buffer().with_progress(|p| p.news.len());
    let mut told = 0;
    for _ in 0..known {
        // Asked for anew: a callback may fork, and the child has a buffer of its own.
        let Some(group) = handle.buffer().with_progress(|p| p.news.take()) else {
            break;
        };
        let mut argument = Zval::new();
        argument.set_hashtable(array(&group));
        // What it returns is nobody's business; what it throws is seen below.
        let _ = ZendCallable::new(callback).and_then(|c| c.try_call(vec![&argument]));
        if zend::has_exception() {
            return Err(Thrown::Already);
        }
        told += 1;
    }
    Ok(told)
}

fn array(group: &Told) -> ZBox<ZendHashTable> {
    let line = serde_json::from_str(&group.line).unwrap_or(Json::Null);
    let mut array = ZendHashTable::new();
    for (name, json) in line.as_object().into_iter().flatten() {
        // An insert into an array that nobody else sees cannot fail; so for those below.
        let _ = array.insert(name.as_str(), value(json));
    }
    let _ = array.insert("follower", group.is_follower);
    let _ = array.insert("missed", i64::try_from(group.missed).unwrap_or(i64::MAX));
    array
}

fn value(json: &Json) -> Zval {
    let mut value_of = Zval::new();
    match json {
        Json::Null => value_of.set_null(),
        Json::Bool(b) => value_of.set_bool(*b),
        Json::Number(n) => match (n.as_i64(), n.as_f64()) {
            (Some(n), _) => value_of.set_long(n),
            (None, x) => value_of.set_double(x.unwrap_or(f64::NAN)),
        },
        Json::String(text) => {
            let _ = value_of.set_string(text, false);
        }
        Json::Array(items) => {
            let mut array = ZendHashTable::new();
            for item in items {
                let _ = array.push(value(item));
            }
            value_of.set_hashtable(array);
        }
        Json::Object(fields) => {
            let mut array = ZendHashTable::new();
            for (name, field) in fields {
                let _ = array.insert(name.as_str(), value(field));
            }
            value_of.set_hashtable(array);
        }
    }
    value_of
}
