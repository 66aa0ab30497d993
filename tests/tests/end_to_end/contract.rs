//! The sandbox's own promises.

use anyhow::{Result, ensure};
use re_dms_tests::{Sandbox, kill};

#[tokio::test]
async fn two_side_by_side_and_nothing_left_behind() -> Result<()> {
    let (one, two) = (Sandbox::up()?, Sandbox::up()?);
    for (sandbox, table) in [(&one, "first"), (&two, "second")] {
        let source = sandbox.source().await?;
        source
            .batch_execute(&format!(
                "CREATE TABLE {table} (id int PRIMARY KEY); INSERT INTO {table} VALUES (1)"
            ))
            .await?;
    }
    one.wait_and_compare()?;
    two.wait_and_compare()?;
    for port in one.ports()?.into_iter().chain(two.ports()?) {
        let addresses = listening_addresses(port)?;
        ensure!(
            addresses == ["0100007F"],
            "port {port} is bound to {addresses:?} and not to 127.0.0.1 alone"
        );
    }
    let (_, table) = two.diff()?;
    ensure!(table.contains("second") && !table.contains("first"), "they must not touch each other:\n{table}");
    one.down()?;
    two.wait_and_compare()?;
    two.down()
}

#[tokio::test]
async fn diff_finds_a_changed_a_lost_and_a_doubled_row() -> Result<()> {
    let sandbox = Sandbox::up()?;
    let source = sandbox.source().await?;
    source
        .batch_execute(
            "CREATE TABLE kept (id int PRIMARY KEY, v text); CREATE TABLE hurt (id int PRIMARY KEY, v text, j jsonb);
             INSERT INTO kept VALUES (1, 'a'); INSERT INTO hurt SELECT g, 'v' || g, '{\"a\": 1}' FROM generate_series(1, 100) g",
        )
        .await?;
    sandbox.wait_and_compare()?;
    let warehouse = sandbox.warehouse().await?;
    let harms = [
        ("UPDATE public.hurt SET v = 'V7' WHERE id = 7", "UPDATE public.hurt SET v = 'v7' WHERE id = 7"),
        ("UPDATE public.hurt SET v = NULL WHERE id = 7", "UPDATE public.hurt SET v = 'v7' WHERE id = 7"),
        (
            "INSERT INTO public.hurt SELECT * FROM public.hurt WHERE id = 9",
            "DELETE FROM public.hurt WHERE ctid = (SELECT max(ctid) FROM public.hurt WHERE id = 9)",
        ),
        (
            "DELETE FROM public.hurt WHERE id = 11",
            "INSERT INTO public.hurt SELECT 11, 'v11', j FROM public.hurt WHERE id = 1",
        ),
    ];
    for (harm, repair) in harms {
        warehouse.batch_execute(harm).await?;
        let (equal, table) = sandbox.diff()?;
        ensure!(!equal, "not found: {harm}\n{table}");
        warehouse.batch_execute(repair).await?;
        let (equal, table) = sandbox.diff()?;
        ensure!(equal, "after {repair}\n{table}");
    }
    Ok(())
}

#[tokio::test]
async fn wait_tells_when_it_takes_too_long() -> Result<()> {
    let sandbox = Sandbox::up()?;
    let source = sandbox.source().await?;
    source.batch_execute("CREATE TABLE t (id int PRIMARY KEY)").await?;
    kill(sandbox.pid("capture")?);
    source.batch_execute("INSERT INTO t VALUES (1)").await?;
    ensure!(sandbox.wait(3).is_err(), "nothing can have been loaded");
    Ok(())
}

#[tokio::test]
async fn down_and_up_again_keeps_everything() -> Result<()> {
    let mut sandbox = Sandbox::up()?;
    let source = sandbox.source().await?;
    source.batch_execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)").await?;
    sandbox.wait_and_compare()?;
    sandbox.stop()?;
    sandbox.up_again()?;
    let source = sandbox.source().await?;
    source.batch_execute("INSERT INTO t VALUES (2)").await?;
    sandbox.wait_and_compare()
}

/// Who listens on a port, as the kernel writes addresses: 127.0.0.1 is 0100007F.
fn listening_addresses(port: u16) -> Result<Vec<String>> {
    const LISTEN: &str = "0A";
    let mut addresses = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in std::fs::read_to_string(table)?.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let Some((address, hex_port)) = fields[1].split_once(':') else { continue };
            if fields[3] == LISTEN && u16::from_str_radix(hex_port, 16)? == port {
                addresses.push(address.to_owned());
            }
        }
    }
    Ok(addresses)
}
