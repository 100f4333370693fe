//! Values and keys: exact, whole, and never SQL.

use crate::common::{delta_spec, spec, text};
use write_buffer::core::Sequence;
use write_buffer::core::table::Mode;
use write_buffer::core::value::Value;
use write_buffer::core::value::Value::{Bool, Float, Int, Null};
use write_buffer::sink::{CheckpointMove, Sink};

use crate::bench::*;

#[test]
fn deltas_are_added_exactly_to_the_last_digit() {
    with_server(async |dsn| {
        let t = unique("account");
        let tables = vec![delta_spec(&t, &["id"], &["balance", "available"])];
        let ddl = [
            format!("CREATE TABLE {t} {ACCOUNT}"),
            format!("INSERT INTO {t} (id, balance) VALUES (1, 320.6156), (2, 5), (3, 7)"),
        ];
        let mut b = Bench::new(&dsn, tables, &ddl).await;
        b.add(
            &t,
            &[
                ("id", Int(1)),
                ("balance", text("0.000000000000000001")),
                ("note", text("first")),
            ],
        );
        b.add(
            &t,
            &[("id", text("2")), ("balance", Int(-5)), ("note", Null)],
        );
        b.add(&t, &[("id", Int(3)), ("available", text("-1e-8"))]);
        b.write().await.unwrap();
        let all = b
            .query(&format!(
                "SELECT id, balance, available, note FROM {t} ORDER BY id"
            ))
            .await;
        assert_eq!(
            all,
            "1 320.615600000000000001 NULL first\n2 0.000000000000000000 NULL NULL\n3 7.000000000000000000 -0.000000010000000000 NULL"
        );
        assert_eq!(
            b.sink.read_checkpoint(&b.writer).await.unwrap(),
            Sequence(3)
        );
    });
}

#[test]
fn decimals_keep_all_65_digits_whatever_they_are_mixed_with() {
    with_server(async |dsn| {
        let t = unique("wide");
        let u = unique("wide_upsert");
        let tables = vec![
            delta_spec(&t, &["id"], &["d", "n"]),
            spec(&u, Mode::Upsert, &["id"]),
        ];
        let ddl = [
            format!(
                "CREATE TABLE {t} (id INT PRIMARY KEY, d DECIMAL(65,30) NOT NULL, n DECIMAL(65,0))"
            ),
            format!("INSERT INTO {t} VALUES (1,0,0),(2,0,0),(3,0,0),(4,1,1)"),
            format!(
                "CREATE TABLE {u} (id INT PRIMARY KEY, d DECIMAL(65,30), r DECIMAL(30,10) NOT NULL)"
            ),
            format!("INSERT INTO {u} VALUES (1,NULL,1),(2,NULL,2),(3,NULL,3)"),
        ];
        let mut b = Bench::new(&dsn, tables, &ddl).await;
        let big = "12345678901234567890123456789012345";
        let fine = "0.123456789012345678901234567890";
        let nines = "9".repeat(65);
        let whole = format!("{big}.123456789012345678901234567891");
        for (id, d, n) in [
            (1, big, nines.as_str()),
            (2, fine, "1"),
            (3, whole.as_str(), "-3"),
        ] {
            b.add(&t, &[("id", Int(id)), ("d", text(d)), ("n", text(n))]);
            // Partial, so that it is an update joined with literals.
            let value = if id == 2 { Int(7) } else { text(d) };
            b.add(&u, &[("id", Int(id)), ("d", value)]);
        }
        b.write().await.unwrap();
        let expected = format!(
            "1 {big}.000000000000000000000000000000 {nines}\n2 {fine} 1\n3 {whole} -3\n4 1.000000000000000000000000000000 1"
        );
        assert_eq!(
            b.query(&format!("SELECT * FROM {t} ORDER BY id")).await,
            expected
        );
        let zeros = "0".repeat(30);
        let expected = format!("1 {big}.{zeros}\n2 7.{zeros}\n3 {whole}");
        assert_eq!(
            b.query(&format!("SELECT id, d FROM {u} ORDER BY id")).await,
            expected
        );
        // Past the column's end, the server refuses; nothing is cut.
        b.add(&t, &[("id", Int(1)), ("n", Int(1))]);
        b.refused(&t, &[&t]).await;
    });
}

#[test]
fn a_sum_finer_than_its_column_is_refused_not_rounded() {
    with_server(async |dsn| {
        let t = unique("coarse");
        let ddl = [
            format!("CREATE TABLE {t} (id INT PRIMARY KEY, n BIGINT NOT NULL)"),
            format!("INSERT INTO {t} VALUES (1, 1)"),
        ];
        let mut b = Bench::new(&dsn, vec![delta_spec(&t, &["id"], &["n"])], &ddl).await;
        b.add(&t, &[("id", Int(1)), ("n", text("0.5"))]);
        let failure = b.refused(&t, &["0.5", "`n` has 0", "id=1"]).await;
        assert_eq!(failure.table.as_deref(), Some(t.as_str()));
        b.rows.batch();
        b.checkpoint = Sequence(0);
        b.add(&t, &[("id", Int(1)), ("n", text("9223372036854775806"))]);
        b.write().await.unwrap();
        assert_eq!(
            b.query(&format!("SELECT n FROM {t}")).await,
            "9223372036854775807"
        );
    });
}

#[test]
fn any_text_is_stored_as_it_is_under_any_sql_mode() {
    with_server(async |dsn| {
        let strings = [
            "O'Reilly",
            "a\\b",
            "\\",
            "\"double\"",
            "'; DROP TABLE x; -- ",
            "nul\0byte",
            "\u{1a}\r\n\t",
            "😀 日本 é",
            "%_`x`/*",
            "",
            " trailing ",
            "\\' OR 1=1",
            "{\"json\": \"it's\"}",
        ];
        for mode in [
            "ANSI_QUOTES",
            "NO_BACKSLASH_ESCAPES",
            "ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT,STRICT_ALL_TABLES",
            "",
        ] {
            let t = unique("texts");
            let u = unique("texts_update");
            let columns = "(id INT PRIMARY KEY, t TEXT CHARACTER SET utf8mb4, b BLOB)";
            let ddl = [
                format!("CREATE TABLE {t} {columns}"),
                format!("CREATE TABLE {u} {columns}"),
            ];
            let tables = vec![spec(&t, Mode::Insert, &[]), spec(&u, Mode::Update, &["id"])];
            let mut b = Bench::with_session(&dsn, tables, &ddl, vec![("sql_mode", mode)]).await;
            for (id, s) in (1..).zip(strings) {
                b.query(&format!("INSERT INTO {u} (id) VALUES ({id})"))
                    .await;
                b.add(&t, &[("id", Int(id)), ("t", text(s)), ("b", text(s))]);
                b.add(&u, &[("id", Int(id)), ("t", text(s)), ("b", text(s))]);
            }
            b.write().await.unwrap();
            for table in [&t, &u] {
                let hex = |s: &str| s.bytes().map(|b| format!("{b:02X}")).collect::<String>();
                let expected: Vec<_> = (1..)
                    .zip(strings)
                    .map(|(id, s)| format!("{id} {0} {0}", hex(s)))
                    .collect();
                let stored = b
                    .query(&format!(
                        "SELECT id, HEX(t), HEX(b) FROM {table} ORDER BY id"
                    ))
                    .await;
                assert_eq!(stored, expected.join("\n"), "{mode}");
            }
        }
    });
}

#[test]
fn bytes_that_are_no_text_are_refused_in_text_and_pass_in_a_blob() {
    with_server(async |dsn| {
        let t = unique("bytes");
        let ddl = [format!(
            "CREATE TABLE {t} (id INT PRIMARY KEY, t VARCHAR(300) CHARACTER SET utf8mb4, b BLOB, v VARBINARY(300))"
        )];
        let mut b = Bench::new(&dsn, vec![spec(&t, Mode::Upsert, &["id"])], &ddl).await;
        let all: Vec<u8> = (0..=255).collect();
        b.add(
            &t,
            &[
                ("id", Int(1)),
                ("b", Value::Bytes(&all)),
                ("v", Value::Bytes(&all)),
            ],
        );
        b.add(&t, &[("id", Int(2)), ("b", Int(5)), ("v", Null)]);
        b.write().await.unwrap();
        let hex: String = all.iter().map(|b| format!("{b:02X}")).collect();
        assert_eq!(
            b.query(&format!("SELECT HEX(b), HEX(v) FROM {t} ORDER BY id"))
                .await,
            format!("{hex} {hex}\n35 NULL")
        );
        b.add(&t, &[("id", Int(3)), ("t", Value::Bytes(b"a\xff"))]);
        b.refused(&t, &[&t]).await;
    });
}

#[test]
fn every_kind_of_value_reaches_every_kind_of_column() {
    with_server(async |dsn| {
        let t = unique("kinds");
        let columns = "(id BIGINT UNSIGNED PRIMARY KEY, i BIGINT, u BIGINT UNSIGNED, d DOUBLE, s VARCHAR(50) CHARACTER SET latin1, \
            j JSON, dt DATETIME(3), da DATE, e ENUM('x','y'), bt BIT(8), de DECIMAL(10,2), y YEAR)";
        let full = spec_for("full", &t, spec("full", Mode::Upsert, &["id"]));
        let update = spec_for("update", &t, spec("update", Mode::Update, &["id"]));
        let mut b = Bench::new(
            &dsn,
            vec![full, update],
            &[format!("CREATE TABLE {t} {columns}")],
        )
        .await;
        let row = |id: &'static str, s: &'static str| {
            [
                ("id", text(id)),
                ("i", Int(i64::MIN)),
                ("u", text("18446744073709551615")),
                ("d", Float(0.1)),
                ("s", text(s)),
                ("j", text("{\"a\": [1]}")),
                ("dt", text("2026-01-02 03:04:05.678")),
                ("da", text("2026-01-02")),
                ("e", text("y")),
                ("bt", Int(5)),
                ("de", Bool(true)),
                ("y", Int(2026)),
            ]
        };
        b.add("full", &row("18446744073709551615", "é"));
        b.add("full", &row("7", "5"));
        b.write().await.unwrap();
        b.add("update", &row("18446744073709551615", "è"));
        b.add(
            "update",
            &[
                ("id", Int(7)),
                ("d", Int(3)),
                ("s", Int(5)),
                ("i", text("6")),
            ],
        );
        b.write().await.unwrap();
        let seen = b.query(&format!("SELECT id, i, u, d, CONVERT(s USING utf8mb4), dt, da, e, bt+0, de, y FROM {t} ORDER BY id")).await;
        let rest = "2026-01-02 03:04:05.678 2026-01-02 y 5 1.00 2026";
        let max = u64::MAX;
        assert_eq!(
            seen,
            format!(
                "7 6 {max} 3 5 {rest}\n{max} {} {max} 0.1 è {rest}",
                i64::MIN
            )
        );
        b.add("update", &[("id", Int(7)), ("s", text("日"))]);
        b.refused(&t, &[]).await;
    });
}

#[test]
fn every_kind_of_key_finds_its_row() {
    with_server(async |dsn| {
        let kinds = [
            ("VARCHAR(20) CHARACTER SET utf8mb4", "a b", "c"),
            ("VARCHAR(20) CHARACTER SET latin1", "x", "y"),
            (
                "VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
                "é",
                "É",
            ),
            ("DECIMAL(30,10)", "1.5", "2.25"),
            ("DATE", "2026-01-02", "2026-01-03"),
            ("DATETIME", "2026-01-02 03:04:05", "2026-1-3 0:0:0"),
            ("DATETIME(6)", "2026-01-02 03:04:05", "2026-01-02 03:04:06"),
            ("ENUM('a','b')", "a", "b"),
            ("VARBINARY(8)", "a", "A"),
            ("DOUBLE", "1.5", "2.5"),
        ];
        for (kind, first, second) in kinds {
            let t = unique("keyed");
            let ddl = [
                format!("CREATE TABLE {t} (k {kind} PRIMARY KEY, n INT NOT NULL)"),
                format!("INSERT INTO {t} VALUES ('{first}', 1), ('{second}', 2)"),
            ];
            let put = spec_for("put", &t, spec("put", Mode::Upsert, &["k"]));
            let sum = spec_for("sum", &t, delta_spec("sum", &["k"], &["n"]));
            let mut b = Bench::new(&dsn, vec![put, sum], &ddl).await;
            for key in [first, second] {
                b.add("sum", &[("k", text(key)), ("n", Int(10))]);
            }
            b.write().await.unwrap_or_else(|e| panic!("{kind}: {e:?}"));
            assert_eq!(
                b.query(&format!("SELECT n FROM {t} ORDER BY n")).await,
                "11\n12",
                "{kind}"
            );
            for key in [first, second] {
                b.add("put", &[("k", text(key)), ("n", Int(5))]);
            }
            b.write().await.unwrap_or_else(|e| panic!("{kind}: {e:?}"));
            assert_eq!(
                b.query(&format!("SELECT n FROM {t} ORDER BY n")).await,
                "5\n5",
                "{kind}"
            );
            b.rows.delete("put", &[("k", text(first))]);
            b.write().await.unwrap_or_else(|e| panic!("{kind}: {e:?}"));
            assert_eq!(
                b.query(&format!("SELECT COUNT(*) FROM {t}")).await,
                "1",
                "{kind}"
            );
        }
    });
}

#[test]
fn what_the_database_refuses_is_refused_with_table_and_row() {
    with_server(async |dsn| {
        let (t, p) = (unique("strict"), unique("parent"));
        let ddl = [
            format!("CREATE TABLE {p} (id INT PRIMARY KEY)"),
            format!(
                "CREATE TABLE {t} (id INT PRIMARY KEY, s VARCHAR(3), n TINYINT NOT NULL DEFAULT 0, p INT, CHECK (n <> 13), FOREIGN KEY (p) REFERENCES {p} (id))"
            ),
            format!(
                "CREATE TRIGGER {t} BEFORE INSERT ON {t} FOR EACH ROW BEGIN IF NEW.n = 99 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no 99'; END IF; END"
            ),
        ];
        let mut b = Bench::new(&dsn, vec![spec(&t, Mode::Upsert, &["id"])], &[]).await;
        let mut admin = client(&dsn_of("WRITE_BUFFER_TEST_ADMIN_DSN").unwrap_or(dsn.clone())).await;
        for sql in &ddl {
            query(&mut admin, sql).await;
        }
        for (column, value) in [
            ("s", text("abcd")),
            ("n", Int(300)),
            ("n", Null),
            ("n", text("x")),
            ("n", Int(13)),
            ("p", Int(5)),
            ("n", Int(99)),
        ] {
            b.add(&t, &[("id", Int(1))]);
            b.add(&t, &[("id", Int(42)), (column, value)]);
            b.refused(&t, &[&t, "42"]).await;
        }
    });
}

#[test]
fn where_the_server_does_not_say_which_row_it_refuses_all_of_them_are_named_by_their_ends() {
    with_server(async |dsn| {
        let t = unique("checked");
        let ddl = [format!(
            "CREATE TABLE {t} (id INT PRIMARY KEY, n INT CHECK (n >= 0))"
        )];
        let mut b = Bench::new(&dsn, vec![spec(&t, Mode::Upsert, &["id"])], &ddl).await;
        for id in 1..=3 {
            b.add(
                &t,
                &[("id", Int(id)), ("n", Int(if id == 2 { -1 } else { 1 }))],
            );
        }
        b.refused(&t, &["one of 3 rows, id=1 to id=3, of"]).await;
    });
}

#[test]
fn a_row_larger_than_the_packet_is_refused_with_size_and_limit() {
    with_server(async |dsn| {
        let Some(admin) = dsn_of("WRITE_BUFFER_TEST_ADMIN_DSN") else {
            return;
        };
        let mut admin = client(&admin).await;
        let t = unique("large");
        let ddl = [format!("CREATE TABLE {t} (id INT PRIMARY KEY, b LONGBLOB)")];
        let mut b = Bench::new(&dsn, vec![spec(&t, Mode::Upsert, &["id"])], &ddl).await;
        let limit: usize = query(&mut admin, "SELECT @@global.max_allowed_packet")
            .await
            .parse()
            .unwrap();
        let row_bytes_max = b.connected.row_bytes_max.unwrap();
        assert!((limit as u64 / 4..limit as u64 / 2).contains(&row_bytes_max));
        let large = vec![b'x'; limit / 2];
        b.add(&t, &[("id", Int(1)), ("b", Value::Bytes(&large))]);
        b.refused(&t, &["id=1", "max_allowed_packet", &limit.to_string()])
            .await;
        // Rows that fit alone go in as many packets as it takes.
        let part = vec![b'y'; 1 << 20];
        for id in 2..12 {
            b.add(&t, &[("id", Int(id)), ("b", Value::Bytes(&part))]);
        }
        let batch = b.rows.batch();
        b.sink
            .write(
                &b.writer,
                Some(&batch),
                CheckpointMove {
                    before: Sequence(0),
                    after: batch.last(),
                },
            )
            .await
            .unwrap();
        assert_eq!(
            b.query(&format!("SELECT COUNT(*), SUM(LENGTH(b)) FROM {t}"))
                .await,
            format!("10 {}", 10 << 20)
        );
        b.query(&format!("DROP TABLE {t}")).await;
    });
}
