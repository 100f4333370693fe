//! The PHP extension: the only room that touches Zend.
//!
//! Methods are registered raw and parse their arguments with `zend_parse_parameters`, so
//! that coercion, `strict_types`, named arguments and error texts are PHP's own. No lock
//! and no borrow of ours is held while PHP code can run.

mod callback;
mod exceptions;
mod flush_result;
mod handle;
mod info;
mod interface;
mod module;
mod row;
mod settings;
mod stats;
mod write_buffer;
mod zend;
