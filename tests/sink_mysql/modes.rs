//! What each mode promises about rows that are there, missing, older or the same.

use crate::common::{delta_spec, names, spec, text};
use write_buffer::core::Sequence;
use write_buffer::core::table::{Missing, Mode, TableSpec};
use write_buffer::core::value::Value::Int;
use write_buffer::sink::{CheckpointMove, Sink};

use crate::bench::*;

#[test]
fn a_missing_account_is_refused_and_named_and_nothing_else_is_written() {
    with_server(async |dsn| {
        let t = unique("account");
        let ddl = [
            format!("CREATE TABLE {t} {ACCOUNT}"),
            format!("INSERT INTO {t} (id, balance) VALUES (1, 1)"),
        ];
        let mut b = Bench::new(&dsn, vec![delta_spec(&t, &["id"], &["balance"])], &ddl).await;
        b.add(&t, &[("id", Int(1)), ("balance", Int(1))]);
        b.add(&t, &[("id", Int(17)), ("balance", Int(1))]);
        b.refused(
            &t,
            &[&format!(
                "`{t}` has no row id=17; insert it first or declare 'missing' => 'insert'"
            )],
        )
        .await;
        b.add(&t, &[("id", text("abc")), ("balance", Int(1))]);
        b.refused(&t, &["\"abc\" is no integer", "`id`"]).await;
    });
}

#[test]
fn a_delta_may_insert_its_row_where_that_is_declared() {
    with_server(async |dsn| {
        let t = unique("account");
        let tables = vec![TableSpec {
            missing: Missing::Insert,
            ..delta_spec(&t, &["id"], &["balance"])
        }];
        let ddl = [
            format!("CREATE TABLE {t} {ACCOUNT}"),
            format!("INSERT INTO {t} (id, balance) VALUES (1, 10)"),
        ];
        let mut b = Bench::new(&dsn, tables, &ddl).await;
        // The CHECK would refuse -4 as a new row; the row is there, so it is a subtraction.
        b.add(&t, &[("id", Int(1)), ("balance", Int(-4))]);
        for id in 2..=300 {
            b.add(&t, &[("id", Int(id)), ("balance", text("1.5"))]);
        }
        b.write().await.unwrap();
        let sums = b
            .query(&format!(
                "SELECT COUNT(*), SUM(balance), MIN(balance) FROM {t}"
            ))
            .await;
        assert_eq!(sums, "300 454.500000000000000000 1.500000000000000000");
        b.add(&t, &[("id", Int(1)), ("balance", Int(-7))]);
        b.refused(&t, &["id=1"]).await;
    });
}

#[test]
fn a_partial_upsert_updates_a_row_and_never_makes_half_a_row() {
    with_server(async |dsn| {
        let t = unique("orders");
        let ddl = [
            format!(
                "CREATE TABLE {t} (id INT UNSIGNED AUTO_INCREMENT PRIMARY KEY, user_id INT NOT NULL, coin VARCHAR(20) NOT NULL, price DECIMAL(30,10), kind ENUM('a','b') NOT NULL, made TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)"
            ),
            format!(
                "INSERT INTO {t} (id, user_id, coin) VALUES (5001, 7, 'btc'), (5002, 8, 'eth')"
            ),
        ];
        // The loose mode is where ghost rows came from.
        for mode in ["", "STRICT_TRANS_TABLES"] {
            let mut b = Bench::with_session(
                &dsn,
                vec![spec(&t, Mode::Upsert, &["id"])],
                if mode.is_empty() { &ddl } else { &[] },
                vec![("sql_mode", mode)],
            )
            .await;
            b.add(&t, &[("id", Int(5001)), ("price", text("1.5"))]);
            b.add(&t, &[("id", Int(5002)), ("price", text("2.5"))]);
            b.write().await.unwrap();
            let all = b
                .query(&format!(
                    "SELECT id, user_id, coin, price FROM {t} ORDER BY id"
                ))
                .await;
            assert_eq!(all, "5001 7 btc 1.5000000000\n5002 8 eth 2.5000000000");
            b.add(&t, &[("id", Int(5001)), ("price", Int(3))]);
            b.add(&t, &[("id", Int(9)), ("price", Int(3))]);
            b.refused(
                &t,
                &[
                    "no row id=9",
                    "`user_id`, `coin` are not given and have no default",
                ],
            )
            .await;
        }
        let mut b = Bench::new(&dsn, vec![spec(&t, Mode::Upsert, &["id"])], &[]).await;
        b.add(
            &t,
            &[("id", Int(0)), ("user_id", Int(1)), ("coin", text("x"))],
        );
        b.refused(&t, &["id=0", "AUTO_INCREMENT"]).await;
        b.add(
            &t,
            &[("id", Int(5003)), ("user_id", Int(1)), ("coin", text("x"))],
        );
        b.add(
            &t,
            &[("id", Int(5001)), ("user_id", Int(2)), ("coin", text("y"))],
        );
        let batch = b.rows.batch();
        let checkpoint = CheckpointMove {
            before: Sequence(0),
            after: batch.last(),
        };
        b.sink
            .write(&b.writer, Some(&batch), checkpoint)
            .await
            .unwrap();
        assert_eq!(
            b.query(&format!("SELECT id, user_id, coin FROM {t} ORDER BY id"))
                .await,
            "5001 2 y\n5002 8 eth\n5003 1 x"
        );
    });
}

#[test]
fn an_upsert_never_hits_the_row_of_another_unique_key() {
    with_server(async |dsn| {
        let t = unique("users");
        let ddl = [
            format!(
                "CREATE TABLE {t} (id INT PRIMARY KEY, email VARCHAR(50) NOT NULL UNIQUE, age INT)"
            ),
            format!("INSERT INTO {t} VALUES (1, 'a@x', 1), (2, 'b@x', 2)"),
        ];
        let mut b = Bench::new(&dsn, vec![spec(&t, Mode::Upsert, &["id"])], &ddl).await;
        b.add(
            &t,
            &[("id", Int(2)), ("email", text("c@x")), ("age", Int(20))],
        );
        for id in 3..200 {
            b.add(
                &t,
                &[
                    ("id", Int(id)),
                    ("email", text(&format!("{id}@x"))),
                    ("age", Int(id)),
                ],
            );
        }
        b.write().await.unwrap();
        assert_eq!(
            b.query(&format!("SELECT COUNT(*), SUM(age) FROM {t}"))
                .await,
            format!("199 {}", 21 + (3..200).sum::<i64>())
        );
        // With plain ON DUPLICATE KEY UPDATE this would change user 1.
        b.add(
            &t,
            &[("id", Int(500)), ("email", text("a@x")), ("age", Int(99))],
        );
        b.refused(&t, &["a@x", "id=500"]).await;
    });
}

#[test]
fn an_older_version_never_overwrites_a_newer_one() {
    with_server(async |dsn| {
        let full = unique("full");
        let part = unique("part");
        let only = unique("only");
        let versioned = |name: &str, mode| TableSpec {
            version: Some("ver".to_owned()),
            ..spec(name, mode, &["id"])
        };
        let tables = vec![
            versioned(&full, Mode::Upsert),
            versioned(&part, Mode::Upsert),
            versioned(&only, Mode::Update),
        ];
        let mut ddl = Vec::new();
        for t in [&full, &part, &only] {
            let more = if *t == part {
                ", must INT NOT NULL"
            } else {
                ""
            };
            ddl.push(format!(
                "CREATE TABLE {t} (id INT PRIMARY KEY, v INT, ver DECIMAL(20,0){more})"
            ));
            let zero = if *t == part { ",0" } else { "" };
            ddl.push(format!("INSERT INTO {t} VALUES (1,0,10{zero}),(2,0,NULL{zero}),(3,0,9007199254740993{zero}),(4,0,4{zero})"));
        }
        let mut b = Bench::new(&dsn, tables, &ddl).await;
        for t in [&full, &part, &only] {
            for (id, ver) in [(1, "9"), (2, "1"), (3, "9007199254740992"), (4, "4")] {
                b.add(t, &[("id", Int(id)), ("ver", text(ver)), ("v", Int(7))]);
            }
        }
        b.write().await.unwrap();
        for t in [&full, &part, &only] {
            let all = b
                .query(&format!("SELECT id, v, ver FROM {t} ORDER BY id"))
                .await;
            assert_eq!(all, "1 0 10\n2 7 1\n3 0 9007199254740993\n4 7 4", "{t}");
        }
        b.add(&only, &[("id", Int(1)), ("ver", Int(11)), ("v", Int(8))]);
        b.add(&full, &[("id", Int(1)), ("ver", Int(11)), ("v", Int(8))]);
        b.add(&full, &[("id", Int(5)), ("ver", Int(1)), ("v", Int(8))]);
        b.write().await.unwrap();
        assert_eq!(
            b.query(&format!(
                "SELECT v, ver FROM {full} WHERE id IN (1,5) ORDER BY id"
            ))
            .await,
            "8 11\n8 1"
        );
        b.add(&only, &[("id", Int(1)), ("ver", Int(3)), ("v", Int(1))]);
        b.add(&only, &[("id", Int(77)), ("ver", Int(3)), ("v", Int(1))]);
        b.refused(&only, &["no row id=77"]).await;
    });
}

#[test]
fn keys_that_are_one_row_to_the_database_keep_their_order() {
    with_server(async |dsn| {
        let coins = unique("coins");
        let sums = unique("sums");
        let fixed = unique("fixed");
        let tables = vec![
            spec(&coins, Mode::Upsert, &["coin"]),
            delta_spec(&sums, &["coin"], &["n"]),
            spec(&fixed, Mode::Update, &["code"]),
        ];
        let ddl = [
            format!("CREATE TABLE {coins} (coin VARCHAR(20) PRIMARY KEY, v INT) CHARSET utf8mb4"),
            format!(
                "CREATE TABLE {sums} (coin VARCHAR(20) PRIMARY KEY, n INT NOT NULL) CHARSET latin1"
            ),
            format!("INSERT INTO {sums} VALUES ('btc', 0), ('é', 0), ('z', 0)"),
            format!("CREATE TABLE {fixed} (code BINARY(4) PRIMARY KEY, v INT)"),
            format!("INSERT INTO {fixed} VALUES ('ab', 0), ('cd', 0)"),
        ];
        let mut b = Bench::new(&dsn, tables, &ddl).await;
        for (coin, v) in [
            ("btc", 1),
            ("BTC", 2),
            ("Btc ", 3),
            ("eth", 4),
            ("BTC", 5),
            ("btc", 6),
        ] {
            b.add(&coins, &[("coin", text(coin)), ("v", Int(v))]);
        }
        for (coin, n) in [("btc", 1), ("BTC", 10), ("z", 5)] {
            b.add(&sums, &[("coin", text(coin)), ("n", Int(n))]);
        }
        b.add(&fixed, &[("code", text("ab")), ("v", Int(1))]);
        b.add(&fixed, &[("code", text("cd")), ("v", Int(2))]);
        b.write().await.unwrap();
        let is_padded = b.query(&format!("SELECT COUNT(*) FROM {coins}")).await == "2";
        assert_eq!(
            b.query(&format!("SELECT v FROM {coins} WHERE coin = 'btc'"))
                .await,
            "6"
        );
        assert!(is_padded || !b.is_mariadb());
        assert_eq!(
            b.query(&format!(
                "SELECT n FROM {sums} WHERE coin IN ('btc','z') ORDER BY n"
            ))
            .await,
            "5\n11"
        );
        assert_eq!(
            b.query(&format!("SELECT v FROM {fixed} ORDER BY code"))
                .await,
            "1\n2"
        );
        // Beyond ASCII only the server can tell.
        for (coin, n) in [("é", 1), ("É", 2), ("z", 4)] {
            b.add(&sums, &[("coin", text(coin)), ("n", Int(n))]);
            b.add(&coins, &[("coin", text(coin)), ("v", Int(n))]);
        }
        b.write().await.unwrap();
        assert_eq!(b.query(&format!("SELECT SUM(n) FROM {sums}")).await, "23");
        assert_eq!(
            b.query(&format!("SELECT v FROM {coins} WHERE coin = 'e'"))
                .await,
            "2"
        );
        // A character that latin1 lacks is no question mark.
        b.add(&sums, &[("coin", text("日")), ("n", Int(1))]);
        b.refused(&sums, &["coin=\"日\""]).await;
        b.add(&coins, &[("coin", text("z")), ("v", Int(1))]);
        b.rows.delete(&coins, &[("coin", text("Z"))]);
        let batch = b.rows.batch();
        let before = b.checkpoint;
        b.sink
            .write(
                &b.writer,
                Some(&batch),
                CheckpointMove {
                    before,
                    after: batch.last(),
                },
            )
            .await
            .unwrap();
        assert_eq!(
            b.query(&format!("SELECT COUNT(*) FROM {coins} WHERE coin = 'z'"))
                .await,
            "0"
        );
    });
}

#[test]
fn odd_integer_keys_name_the_same_row() {
    with_server(async |dsn| {
        let t = unique("account");
        let ddl = [
            format!("CREATE TABLE {t} {ACCOUNT}"),
            format!("INSERT INTO {t} (id) VALUES (5), (6)"),
        ];
        let mut b = Bench::new(&dsn, vec![delta_spec(&t, &["id"], &["balance"])], &ddl).await;
        for id in [Int(5), text("05"), text("5.0"), Int(6)] {
            b.add(&t, &[("id", id), ("balance", Int(1))]);
        }
        b.write().await.unwrap();
        assert_eq!(
            b.query(&format!("SELECT id, balance FROM {t} ORDER BY id"))
                .await,
            "5 3.000000000000000000\n6 1.000000000000000000"
        );
    });
}

#[test]
fn a_row_that_is_already_there_counts_as_written_by_its_declared_key_only() {
    with_server(async |dsn| {
        let t = unique("trades");
        let tables = vec![TableSpec {
            unique: names(&["match_id"]),
            ..spec(&t, Mode::Insert, &[])
        }];
        let ddl = [
            format!(
                "CREATE TABLE {t} (id INT AUTO_INCREMENT PRIMARY KEY, match_id BIGINT UNIQUE, code VARCHAR(10) UNIQUE, price DECIMAL(30,10) NOT NULL)"
            ),
            format!("INSERT INTO {t} (match_id, code, price) VALUES (3, 'old', 1), (50, 'x', 1)"),
        ];
        let mut b = Bench::new(&dsn, tables, &ddl).await;
        for id in 1..=60 {
            b.add(&t, &[("match_id", Int(id)), ("price", text("2"))]);
        }
        b.write().await.unwrap();
        assert_eq!(
            b.query(&format!("SELECT COUNT(*), SUM(price) FROM {t}"))
                .await,
            "60 118.0000000000"
        );
        b.add(
            &t,
            &[
                ("match_id", Int(100)),
                ("price", Int(1)),
                ("code", text("a")),
            ],
        );
        b.add(
            &t,
            &[
                ("match_id", Int(101)),
                ("price", Int(1)),
                ("code", text("x")),
            ],
        );
        b.refused(&t, &["match_id=101"]).await;
        // Without a declared key, any duplicate is refused.
        let plain = spec_for("plain", &t, spec("plain", Mode::Insert, &[]));
        let mut b = Bench::new(&dsn, vec![plain], &[]).await;
        b.add("plain", &[("match_id", Int(1)), ("price", Int(1))]);
        b.refused(&t, &["Duplicate", "1062"]).await;
    });
}

#[test]
fn deletions_go_before_what_is_written_again() {
    with_server(async |dsn| {
        let t = unique("pairs");
        let ddl = [
            format!(
                "CREATE TABLE {t} (a INT, b VARCHAR(10), `select` INT, `key` TEXT, PRIMARY KEY (a, b))"
            ),
            format!(
                "INSERT INTO {t} VALUES (1,'x',1,'k'),(1,'y',2,'k'),(2,'x',3,'k'),(2,'y',4,'k')"
            ),
        ];
        let mut b = Bench::new(&dsn, vec![spec(&t, Mode::Upsert, &["a", "b"])], &ddl).await;
        b.rows.delete(&t, &[("a", Int(1)), ("b", text("x"))]);
        b.rows.delete(&t, &[("a", Int(2)), ("b", text("y"))]);
        b.rows.delete(&t, &[("a", Int(9)), ("b", text("no such"))]);
        b.add(&t, &[("a", Int(2)), ("b", text("y")), ("select", Int(7))]);
        b.add(&t, &[("a", Int(2)), ("b", text("x")), ("key", text("new"))]);
        b.add(&t, &[("a", Int(3)), ("b", text("z"))]);
        b.write().await.unwrap();
        let all = b.query(&format!("SELECT * FROM {t} ORDER BY a, b")).await;
        assert_eq!(all, "1 y 2 k\n2 x 3 new\n2 y 7 NULL\n3 z NULL NULL");
        let batch = {
            b.rows.delete(&t, &[("a", Int(3)), ("b", text("z"))]);
            b.rows.batch()
        };
        let before = b.checkpoint;
        b.sink
            .write(
                &b.writer,
                Some(&batch),
                CheckpointMove {
                    before,
                    after: batch.last(),
                },
            )
            .await
            .unwrap();
        assert_eq!(b.query(&format!("SELECT COUNT(*) FROM {t}")).await, "3");
    });
}

#[test]
fn large_batches_are_written_whole_in_several_statements() {
    with_server(async |dsn| {
        let t = unique("bulk");
        let put = spec_for("put", &t, spec("put", Mode::Upsert, &["id"]));
        let sum = spec_for("sum", &t, delta_spec("sum", &["id"], &["n"]));
        let ddl = [format!(
            "CREATE TABLE {t} (id INT PRIMARY KEY, n DECIMAL(30,10) NOT NULL, s VARCHAR(100))"
        )];
        let mut b = Bench::new(&dsn, vec![put, sum], &ddl).await;
        let s = "s".repeat(80);
        for id in 0..5000 {
            b.add(
                "put",
                &[("id", Int(id)), ("n", text("1.5")), ("s", text(&s))],
            );
            b.add("sum", &[("id", Int(id)), ("n", text("0.25"))]);
        }
        b.write().await.unwrap();
        assert_eq!(
            b.query(&format!("SELECT COUNT(*), SUM(n) FROM {t}")).await,
            "5000 8750.0000000000"
        );
        for id in 0..5000 {
            b.rows.delete("put", &[("id", Int(id * 2))]);
        }
        b.write().await.unwrap();
        assert_eq!(b.query(&format!("SELECT COUNT(*) FROM {t}")).await, "2500");
    });
}
