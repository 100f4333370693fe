//! Where a buffer writes: `mysql://user:password@host1,host2:3307/database?socket=…`.

use std::fmt;

use percent_encoding::percent_decode_str;

/// A parsed data source name. Its `Debug` and [`Dsn::redacted`] never show the password.
#[derive(Clone, PartialEq, Eq)]
pub enum Dsn {
    /// MySQL or MariaDB.
    MySql(MySqlDsn),
    /// An SQLite file.
    Sqlite {
        /// Absolute path of the database file.
        path: String,
    },
}

/// The parts of a `mysql://` or `mariadb://` DSN.
#[derive(Clone, PartialEq, Eq)]
pub struct MySqlDsn {
    /// Hosts to try, in order, each with its port.
    pub hosts: Vec<(String, u16)>,
    /// User name.
    pub user: String,
    /// Password, if one is given.
    pub password: Option<String>,
    /// Database name.
    pub database: String,
    /// Unix socket; goes before the hosts.
    pub socket: Option<String>,
    /// `disabled`, `preferred`, `required`, `verify_ca` or `verify_identity`.
    pub ssl_mode: Option<String>,
    /// Path of a PEM file with the CA certificate.
    pub ssl_ca: Option<String>,
    /// Path of a PEM file with the client certificate.
    pub ssl_cert: Option<String>,
    /// Path of a PEM file with the client key.
    pub ssl_key: Option<String>,
}

const SSL_MODES: [&str; 5] = [
    "disabled",
    "preferred",
    "required",
    "verify_ca",
    "verify_identity",
];

impl Dsn {
    /// Reads a DSN.
    ///
    /// # Errors
    /// What is wrong, without repeating credentials.
    pub fn parse(text: &str) -> Result<Self, String> {
        const FORMS: &str = "use mysql://user:password@host:port/database, mariadb://… or sqlite:///absolute/path.db";
        let (scheme, rest) = text
            .split_once("://")
            .ok_or(format!("The DSN has no scheme; {FORMS}."))?;
        match scheme {
            "mysql" | "mariadb" => parse_mysql(rest).map(Self::MySql),
            "sqlite" => {
                let path = decode(rest.split('?').next().unwrap_or_default())?;
                if !path.starts_with('/') {
                    return Err(format!(
                        "The SQLite path {path:?} is not absolute; use sqlite:///absolute/path.db."
                    ));
                }
                Ok(Self::Sqlite { path })
            }
            _ => Err(format!(
                "The DSN scheme {scheme:?} is not supported; {FORMS}."
            )),
        }
    }

    /// The DSN for messages: no password, no user.
    #[must_use]
    pub fn redacted(&self) -> String {
        match self {
            Self::Sqlite { path } => format!("sqlite://{path}"),
            Self::MySql(dsn) => match &dsn.socket {
                Some(socket) => format!("mysql://{socket}/{}", dsn.database),
                None => {
                    let hosts: Vec<_> = dsn.hosts.iter().map(|(h, p)| format!("{h}:{p}")).collect();
                    format!("mysql://{}/{}", hosts.join(","), dsn.database)
                }
            },
        }
    }
}

impl fmt::Debug for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

fn decode(text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded = decoded.map_err(|_| "The DSN holds percent-encoded bytes that are not UTF-8.")?;
    // No path, name or password that a server or the system takes has one.
    if decoded.contains('\0') {
        return Err("The DSN holds a NUL byte; take it out.".to_owned());
    }
    Ok(decoded.into_owned())
}

fn parse_mysql(rest: &str) -> Result<MySqlDsn, String> {
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    // Then the password has a / or a ?, and what looks like a host, a port or a database is a
    // part of it, which no message may repeat.
    if database.contains('@') || query.contains('@') {
        return Err("The DSN has an @ behind its host; in a user name, a password or a path write @ as %40, / as %2F and ? as %3F.".to_owned());
    }
    // An unescaped @ in a password is a common slip: the last one separates.
    let (credentials, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = match credentials.split_once(':') {
        Some((user, password)) => (user, Some(decode(password)?)),
        None => (credentials, None),
    };
    let database = decode(database)?;
    if database.is_empty() {
        return Err("The DSN names no database; add it after the host: mysql://user:password@host:3306/database.".to_owned());
    }
    let hosts = hosts
        .split(',')
        .filter(|h| !h.is_empty())
        .map(parse_host)
        .collect::<Result<Vec<_>, _>>()?;
    let mut dsn = MySqlDsn {
        hosts: if hosts.is_empty() {
            vec![("127.0.0.1".to_owned(), 3306)]
        } else {
            hosts
        },
        user: if user.is_empty() {
            "root".to_owned()
        } else {
            decode(user)?
        },
        password,
        database,
        socket: None,
        ssl_mode: None,
        ssl_ca: None,
        ssl_cert: None,
        ssl_key: None,
    };
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode(value)?;
        match name.replace('-', "_").as_str() {
            "socket" | "unix_socket" => dsn.socket = Some(value),
            "ssl_mode" | "sslmode" => {
                let mode = value.to_ascii_lowercase().replace('-', "_");
                if !SSL_MODES.contains(&mode.as_str()) {
                    return Err(format!(
                        "The DSN's ssl-mode {value:?} is unknown; use one of {}.",
                        SSL_MODES.join(", ")
                    ));
                }
                dsn.ssl_mode = Some(mode);
            }
            "ssl_ca" => dsn.ssl_ca = Some(value),
            "ssl_cert" => dsn.ssl_cert = Some(value),
            "ssl_key" => dsn.ssl_key = Some(value),
            _ => {
                return Err(format!(
                    "The DSN parameter {name:?} is unknown; known are socket, ssl-mode, ssl-ca, ssl-cert, ssl-key."
                ));
            }
        }
    }
    Ok(dsn)
}

fn parse_host(text: &str) -> Result<(String, u16), String> {
    let (host, port) = match text.rsplit_once(':') {
        // `[::1]` and `[::1]:3306`, but not the inside of a bare IPv6 address.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let port = match port {
        None => 3306,
        Some(port) => port
            .parse()
            .map_err(|_| format!("The DSN's port {port:?} is not a number from 1 to 65535."))?,
    };
    Ok((
        decode(host.trim_start_matches('[').trim_end_matches(']'))?,
        port,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mysql(text: &str) -> MySqlDsn {
        match Dsn::parse(text) {
            Ok(Dsn::MySql(dsn)) => dsn,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_nul_byte_is_refused_wherever_it_stands() {
        for text in [
            "sqlite:///tmp/a%00b.db",
            "mysql://user:pass%00word@host/database",
            "mysql://user@host/data%00base",
            "mysql://user@host/database?socket=/tmp/%00",
            "mysql://us\0er@host/database",
            "mysql://ho%00st/database",
        ] {
            let refusal = Dsn::parse(text).unwrap_err();
            assert!(refusal.contains("NUL"), "{text:?}: {refusal}");
        }
    }

    #[test]
    fn no_message_repeats_a_password_with_unescaped_separators() {
        for text in [
            "mysql://user:se/cret@host/database",
            "mysql://user:1/se?cret@host/database",
            "mysql://user:p@se:cret/x@host/database",
            "mysql://user:p@x:1/se?cret@host/database",
            "mysql://user:cret?se@host/database",
        ] {
            let refusal = Dsn::parse(text).unwrap_err();
            assert!(refusal.contains("%2F"), "{text}: {refusal}");
            assert!(
                !refusal.contains("cret") && !refusal.contains("se\""),
                "{refusal}"
            );
        }
    }

    #[test]
    fn several_hosts_and_escapes_are_read() {
        let dsn = mysql(
            "mysql://u%40x:p%3Aw%2F@db1,db2:3307,[::1]:3308/spot?ssl-mode=VERIFY_CA&ssl-ca=/a%20b",
        );
        assert_eq!(
            dsn.hosts,
            [
                ("db1".into(), 3306),
                ("db2".into(), 3307),
                ("::1".into(), 3308)
            ]
        );
        assert_eq!(
            (dsn.user.as_str(), dsn.password.as_deref()),
            ("u@x", Some("p:w/"))
        );
        assert_eq!(dsn.ssl_mode.as_deref(), Some("verify_ca"));
        assert_eq!(dsn.ssl_ca.as_deref(), Some("/a b"));
    }

    #[test]
    fn a_dsn_in_a_message_has_no_credentials() {
        let dsn = Dsn::parse("mysql://app:hunter2@db/spot").unwrap();
        assert_eq!(format!("{dsn:?}"), "mysql://db:3306/spot");
        for bad in [
            "mysql://app:hunter2@db",
            "mysql://app:hunter2@db:x/spot",
            "pgsql://app:hunter2@db/spot",
            "app:hunter2",
        ] {
            let error = Dsn::parse(bad).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn sqlite_wants_an_absolute_path() {
        assert_eq!(
            Dsn::parse("sqlite:///tmp/a%20b.db"),
            Ok(Dsn::Sqlite {
                path: "/tmp/a b.db".into()
            })
        );
        assert!(Dsn::parse("sqlite://a.db").is_err());
    }
}
