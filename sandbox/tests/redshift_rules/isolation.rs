//! Locks and conflicts of transactions, under both isolation levels.

use re_dms_sandbox::redshift::Isolation;

use crate::client::Api;
use crate::stand_in::Servers;

pub(crate) async fn all(servers: &Servers) {
    for isolation in [Isolation::Snapshot, Isolation::Serializable] {
        let stand_in = servers.stand_in(|config| config.settings.isolation = isolation).await;
        let api = Api::of(&stand_in.endpoint(), &servers.aws_endpoint).await;
        let name = format!("{isolation:?}").to_lowercase();
        updates_conflict(&api, &format!("u_{name}")).await;
        inserts_do_not(&api, &format!("i_{name}")).await;
        locked_first_nothing_conflicts(&api, &format!("l_{name}")).await;
        writers_wait_for_each_other(&api, &format!("w_{name}"), isolation).await;
        skew(&api, &format!("s_{name}"), isolation).await;
        tables_younger_than_the_snapshot(&api, &format!("y_{name}")).await;
    }
    deadlock(servers).await;
}

async fn table(api: &Api, name: &str) {
    api.run(&format!("CREATE TABLE {name} (id INT, a INT)")).await.unwrap();
    api.run(&format!("INSERT INTO {name} VALUES (1, 0), (2, 0)")).await.unwrap();
}

/// Different rows of one table: Redshift goes by tables.
async fn updates_conflict(api: &Api, t: &str) {
    table(api, t).await;
    let session = api.session("BEGIN").await.unwrap();
    api.in_session(&session, &format!("SELECT a FROM {t}")).await.unwrap();
    api.run(&format!("UPDATE {t} SET a = 1 WHERE id = 1")).await.unwrap();
    let error = api.in_session(&session, &format!("UPDATE {t} SET a = 1 WHERE id = 2")).await.unwrap_err();
    assert!(error.contains("1023") && error.contains("Serializable isolation violation on table"), "{error}");
    assert!(error.contains(t), "{error}");
    let error = api.in_session(&session, "SELECT 1").await.unwrap_err();
    assert!(error.contains("current transaction is aborted"), "{error}");
    api.in_session(&session, "ROLLBACK").await.unwrap();
    api.in_session(&session, &format!("UPDATE {t} SET a = 1 WHERE id = 2")).await.unwrap();
}

/// Rows that are only added don't see each other.
async fn inserts_do_not(api: &Api, t: &str) {
    table(api, t).await;
    table(api, &format!("{t}_other")).await;
    let session = api.session("BEGIN").await.unwrap();
    api.in_session(&session, &format!("SELECT a FROM {t}_other")).await.unwrap();
    api.run(&format!("INSERT INTO {t} VALUES (3, 0)")).await.unwrap();
    api.in_session(&session, &format!("INSERT INTO {t} VALUES (4, 0)")).await.unwrap();
    api.in_session(&session, "COMMIT").await.unwrap();
    assert_eq!(api.rows(&format!("SELECT COUNT(*) FROM {t}")).await.unwrap(), "4");
}

/// LOCK takes no snapshot: who waited for it sees what was committed meanwhile.
async fn locked_first_nothing_conflicts(api: &Api, t: &str) {
    table(api, t).await;
    let (first, second) = (api.session("BEGIN").await.unwrap(), api.session("BEGIN").await.unwrap());
    let lock = format!("LOCK {t}");
    api.in_session(&first, &lock).await.unwrap();
    let waiting = api.begin_in_session(&second, &lock).await.unwrap();
    api.in_session(&first, &format!("UPDATE {t} SET a = a + 1")).await.unwrap();
    api.in_session(&first, "COMMIT").await.unwrap();
    api.ended(&waiting).await.unwrap();
    api.in_session(&second, &format!("UPDATE {t} SET a = a + 1")).await.unwrap();
    api.in_session(&second, "COMMIT").await.unwrap();
    assert_eq!(api.rows(&format!("SELECT SUM(a) FROM {t}")).await.unwrap(), "4");
}

/// A table's lock is held to the end of the transaction: by an update always, by an insert under serializable isolation.
async fn writers_wait_for_each_other(api: &Api, t: &str, isolation: Isolation) {
    for (write, waits) in [
        (format!("DELETE FROM {t} WHERE id = 1"), true),
        (format!("INSERT INTO {t} VALUES (9, 0)"), isolation == Isolation::Serializable),
    ] {
        let _ = api.run(&format!("DROP TABLE {t}")).await;
        table(api, t).await;
        let session = api.session("BEGIN").await.unwrap();
        api.in_session(&session, &write).await.unwrap();
        let insert = api.client.execute_statement().sql(format!("INSERT INTO {t} VALUES (7, 0)"));
        let insert = insert.database(crate::client::DATABASE).workgroup_name("rules").wait_time_seconds(2);
        let insert = insert.send().await.unwrap();
        let status = insert.status().map(|status| status.as_str().to_owned()).unwrap_or_default();
        assert_eq!(status == "STARTED", waits, "{isolation:?}: {write}: {status}");
        // Readers are not kept waiting.
        assert_eq!(api.rows(&format!("SELECT COUNT(*) FROM {t} WHERE id < 3")).await.unwrap(), "2");
        api.in_session(&session, "COMMIT").await.unwrap();
        api.ended(insert.id().unwrap()).await.unwrap();
    }
}

/// Each reads what the other adds to.
async fn skew(api: &Api, t: &str, isolation: Isolation) {
    let other = format!("{t}_other");
    table(api, t).await;
    table(api, &other).await;
    let (first, second) = (api.session("BEGIN").await.unwrap(), api.session("BEGIN").await.unwrap());
    api.in_session(&first, &format!("INSERT INTO {other} SELECT id, a FROM {t}")).await.unwrap();
    api.in_session(&second, &format!("INSERT INTO {t} SELECT id, a FROM {other}")).await.unwrap();
    api.in_session(&second, "COMMIT").await.unwrap();
    let committed = api.in_session(&first, "COMMIT").await;
    match isolation {
        Isolation::Snapshot => {
            committed.unwrap();
        }
        Isolation::Serializable => assert!(committed.unwrap_err().contains("1023")),
    }
    let expected = if isolation == Isolation::Snapshot { "4" } else { "2" };
    assert_eq!(api.rows(&format!("SELECT COUNT(*) FROM {other}")).await.unwrap(), expected);
}

async fn tables_younger_than_the_snapshot(api: &Api, t: &str) {
    table(api, t).await;
    let session = api.session("BEGIN").await.unwrap();
    api.in_session(&session, &format!("SELECT a FROM {t}")).await.unwrap();
    table(api, &format!("{t}_new")).await;
    let error = api.in_session(&session, &format!("SELECT a FROM {t}_new")).await.unwrap_err();
    assert!(error.contains("1018") && error.contains("Relation does not exist"), "{error}");
    api.in_session(&session, "ROLLBACK").await.unwrap();
}

/// Two that add rows and then delete some, as the documents warn.
async fn deadlock(servers: &Servers) {
    let stand_in = servers.stand_in(|_| {}).await;
    let api = Api::of(&stand_in.endpoint(), &servers.aws_endpoint).await;
    let t = "deadlocked";
    table(&api, t).await;
    let (first, second) = (api.session("BEGIN").await.unwrap(), api.session("BEGIN").await.unwrap());
    for session in [&first, &second] {
        api.in_session(session, &format!("INSERT INTO {t} VALUES (5, 0)")).await.unwrap();
    }
    let delete = format!("DELETE FROM {t} WHERE id = 1");
    let ends = [
        api.begin_in_session(&first, &delete).await.unwrap(),
        api.begin_in_session(&second, &delete).await.unwrap(),
    ];
    let (one, two) = tokio::join!(api.ended(&ends[0]), api.ended(&ends[1]));
    // One is the victim; the other goes on, or finds that it waited for rows that were added meanwhile.
    let errors: Vec<String> = [one, two].into_iter().filter_map(Result::err).collect();
    assert!(errors.len() == 1 && errors[0].contains("deadlock detected"), "{errors:?}");
}
