//! The exception classes and how failures become them.

use std::sync::atomic::{AtomicPtr, Ordering};

use ext_php_rs::args::ArgInfoTables;
use ext_php_rs::builders::ClassBuilder;
use ext_php_rs::error::Result;
use ext_php_rs::exception::PhpException;
use ext_php_rs::flags::ClassFlags;
use ext_php_rs::zend::{ClassEntry, ce};

use super::zend::{Parent, has_exception, parent_class};
use crate::core::config::ConfigError;
use crate::core::table::RowError;
use crate::engine::buffer::{AppendError, TransactionError};
use crate::engine::registry::OpenError;

macro_rules! classes {
    ($($class:ident extends $parent:ident;)*) => {
        /// Our exception classes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(clippy::enum_variant_names, reason = "named as in PHP")]
        pub enum Exception { $(
            #[allow(missing_docs, reason = "named as in PHP")]
            $class,
        )* }

        /// Registers the marker interface and the classes.
        ///
        /// # Errors
        /// When PHP refuses a class.
        pub fn register() -> Result<()> {
            marker::register(concat!("WriteBuffer\\Exception\\", "WriteBufferException"), ClassFlags::Interface, |class| {
                class.implements((ce::throwable, "\\Throwable"))
            })?;
            $( $class::register(concat!("WriteBuffer\\Exception\\", stringify!($class)), ClassFlags::Final, |class| {
                class.extends((|| parent_class(Parent::$parent), concat!("\\", stringify!($parent))))
                    .implements((marker::entry, "\\WriteBuffer\\Exception\\WriteBufferException"))
            })?; )*
            Ok(())
        }

        impl Exception {
            fn entry(self) -> &'static ClassEntry {
                match self { $( Self::$class => $class::entry(), )* }
            }
        }

        $( #[allow(non_snake_case)] mod $class { super::class_entry!(); } )*
    };
}

/// Where a class without Rust data keeps its class entry and argument tables.
macro_rules! class_entry {
    () => {
        use super::*;

        static ENTRY: AtomicPtr<ClassEntry> = AtomicPtr::new(std::ptr::null_mut());

        pub fn entry() -> &'static ClassEntry {
            super::stored(&ENTRY)
        }

        #[allow(clippy::needless_pass_by_value)]
        fn store(entry: &'static mut ClassEntry, arguments: ArgInfoTables) {
            ENTRY.store(entry, Ordering::Release);
            // PHP reads them for the life of the process.
            Box::leak(arguments);
        }

        pub fn register(
            name: &str,
            flags: ClassFlags,
            build: impl FnOnce(ClassBuilder) -> ClassBuilder,
        ) -> Result<()> {
            build(ClassBuilder::new(name))
                .flags(flags)
                .registration(store)
                .register()
        }
    };
}
pub(super) use class_entry;

mod marker {
    super::class_entry!();
}

/// A class entry that MINIT stored.
pub fn stored(entry: &AtomicPtr<ClassEntry>) -> &'static ClassEntry {
    super::zend::class_at(entry.load(Ordering::Acquire))
}

classes! {
    ConfigurationException extends InvalidArgument;
    InvalidRowException extends InvalidArgument;
    BufferFullException extends Runtime;
    ConnectionException extends Runtime;
    JournalException extends Runtime;
    ClosedException extends Runtime;
    TransactionException extends Logic;
}

/// What a method throws.
#[derive(Debug)]
pub enum Thrown {
    /// PHP code threw already.
    Already,
    /// This.
    New(Exception, String),
}

impl Thrown {
    /// Throws it, unless something else is on its way.
    pub fn throw(self) {
        if let Self::New(class, message) = self
            && !has_exception()
        {
            PhpException::new(message, 0, class.entry()).throw();
        }
    }
}

impl From<RowError> for Thrown {
    fn from(error: RowError) -> Self {
        Self::New(Exception::InvalidRowException, error.0)
    }
}

impl From<ConfigError> for Thrown {
    fn from(error: ConfigError) -> Self {
        Self::New(Exception::ConfigurationException, error.0)
    }
}

impl From<TransactionError> for Thrown {
    fn from(error: TransactionError) -> Self {
        Self::New(Exception::TransactionException, error.to_string())
    }
}

impl From<OpenError> for Thrown {
    fn from(error: OpenError) -> Self {
        let class = match &error {
            OpenError::OtherOptions(_) => Exception::ConfigurationException,
            OpenError::Journal(_) => Exception::JournalException,
        };
        Self::New(class, error.to_string())
    }
}

impl From<AppendError> for Thrown {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Full => Self::New(
                Exception::BufferFullException,
                "The buffer is full.".to_owned(),
            ),
            AppendError::Row(message) => Self::New(Exception::InvalidRowException, message),
            AppendError::Closed(message) => Self::New(Exception::ClosedException, message),
            AppendError::Connection(message) => Self::New(Exception::ConnectionException, message),
            AppendError::Configuration(message) => {
                Self::New(Exception::ConfigurationException, message)
            }
            AppendError::Journal(message) => Self::New(Exception::JournalException, message),
            AppendError::Memory(message) => Self::New(Exception::BufferFullException, message),
        }
    }
}
