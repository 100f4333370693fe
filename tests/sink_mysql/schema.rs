//! Tables that are not as declared.

use crate::common::{delta_spec, spec, text};
use write_buffer::core::Sequence;
use write_buffer::core::failure::FailureKind;
use write_buffer::core::table::Mode;
use write_buffer::core::value::Value::Int;
use write_buffer::sink::{CheckpointMove, Sink};

use crate::bench::*;

#[test]
fn a_table_that_cannot_be_written_exactly_once_is_a_misconfiguration() {
    with_server(async |dsn| {
        let t = unique("shape");
        let checks = [
            ("(id INT PRIMARY KEY, n INT) ENGINE=MyISAM", "ENGINE=InnoDB"),
            ("(id INT PRIMARY KEY, n INT) ENGINE=MEMORY", "ENGINE=InnoDB"),
            ("(id INT, n INT)", "no unique index on `id`"),
            (
                "(id VARCHAR(20), n INT, UNIQUE (id(5)))",
                "no unique index on `id`",
            ),
            ("(id INT PRIMARY KEY, n DOUBLE)", "`n` of table"),
            ("(id INT PRIMARY KEY, m INT)", "no delta column `n`"),
            ("(ident INT PRIMARY KEY, n INT)", "no key column `id`"),
        ];
        for (ddl, words) in checks {
            let t = unique(&t);
            let mut b = Bench::new(
                &dsn,
                vec![delta_spec(&t, &["id"], &["n"])],
                &[format!("CREATE TABLE {t} {ddl}")],
            )
            .await;
            b.add(&t, &[("id", Int(1)), ("n", Int(1))]);
            let failure = b.write().await.unwrap_err();
            assert_eq!(
                failure.kind,
                FailureKind::Misconfigured,
                "{ddl}: {failure:?}"
            );
            assert!(failure.message.contains(words), "{failure:?}");
            assert_eq!(failure.table.as_deref(), Some(t.as_str()));
        }
        let mut b = Bench::new(&dsn, vec![spec(&t, Mode::Insert, &[])], &[]).await;
        b.add(&t, &[("id", Int(1))]);
        let failure = b.write().await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Misconfigured);
        assert!(failure.message.contains("does not exist"), "{failure:?}");
        // Made meanwhile: no new connection is needed.
        b.query(&format!("CREATE TABLE {t} (id INT)")).await;
        b.add(&t, &[("id", Int(1))]);
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
    });
}

#[test]
fn a_table_name_filled_from_bad_data_and_an_unknown_column_are_refused() {
    with_server(async |dsn| {
        let base = unique("spot");
        let pattern = format!("{base}_{{currency}}_accounts");
        let tables = vec![spec_for(
            "balances",
            &pattern,
            delta_spec("balances", &["id"], &["balance"]),
        )];
        let usd = format!("{base}_usd_accounts");
        let ddl = [
            format!("CREATE TABLE {usd} {ACCOUNT}"),
            format!("INSERT INTO {usd} (id) VALUES (1)"),
        ];
        let mut b = Bench::new(&dsn, tables, &ddl).await;
        b.add(
            "balances",
            &[
                ("id", Int(1)),
                ("currency", text("usd")),
                ("balance", Int(1)),
            ],
        );
        b.add(
            "balances",
            &[
                ("id", Int(1)),
                ("currency", text("xyz")),
                ("balance", Int(1)),
            ],
        );
        let failure = b
            .refused(&usd, &[&format!("{base}_xyz_accounts"), "does not exist"])
            .await;
        assert_eq!(failure.table.as_deref(), Some("balances"));
        assert_eq!(failure.kind, FailureKind::Unfit);
        b.add(
            "balances",
            &[
                ("id", Int(1)),
                ("currency", text("usd")),
                ("balance", Int(1)),
                ("nota", Int(1)),
            ],
        );
        b.refused(&usd, &["no column `nota`", "note"]).await;
    });
}

#[test]
fn a_schema_that_changed_under_the_connection_is_read_anew() {
    with_server(async |dsn| {
        let t = unique("changing");
        let mut b = Bench::new(
            &dsn,
            vec![spec(&t, Mode::Upsert, &["id"])],
            &[format!("CREATE TABLE {t} (id INT PRIMARY KEY, old INT)")],
        )
        .await;
        b.add(&t, &[("id", Int(1)), ("old", Int(1))]);
        b.write().await.unwrap();
        b.query(&format!("ALTER TABLE {t} CHANGE old renamed INT"))
            .await;
        b.add(&t, &[("id", Int(1)), ("old", Int(2))]);
        let batch = b.rows.batch();
        let checkpoint = CheckpointMove {
            before: b.checkpoint,
            after: batch.last(),
        };
        let first = b
            .sink
            .write(&b.writer, Some(&batch), checkpoint)
            .await
            .unwrap_err();
        assert_eq!(
            (first.kind, first.code),
            (FailureKind::Transient, 1054),
            "{first:?}"
        );
        let second = b
            .sink
            .write(&b.writer, Some(&batch), checkpoint)
            .await
            .unwrap_err();
        assert_eq!(second.kind, FailureKind::Unfit, "{second:?}");
        b.query(&format!("ALTER TABLE {t} ADD old INT")).await;
        let _ = b.sink.connect(&b.writer).await.unwrap();
        b.sink
            .write(&b.writer, Some(&batch), checkpoint)
            .await
            .unwrap();
        assert_eq!(b.query(&format!("SELECT old FROM {t}")).await, "2");
    });
}
