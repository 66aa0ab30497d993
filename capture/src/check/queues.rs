//! The queues and their settings.

use std::time::Duration;

use re_dms_shared::check::Finding;

use super::failed;
use crate::aws::{DescribedQueue, Queues};

/// A message that waits out an outage of Redshift should not expire over a weekend.
const SHORT_RETENTION: Duration = Duration::from_secs(4 * 24 * 3600);
/// Below this many deliveries messages go to the dead letters over a short outage.
const FEW_DELIVERIES: u64 = 10;

/// What was found, and the settings of the loader's queue if it is there.
pub(super) async fn check(queues: &Queues) -> (Vec<Finding>, Option<DescribedQueue>) {
    let mut findings = Vec::new();
    let segments = match queues.describe_segments().await {
        Ok(queue) => {
            findings.extend(segments(queues, &queue).await);
            Some(queue)
        }
        Err(error) => {
            findings.push(failed("SQS: segment queue", &error));
            None
        }
    };
    findings.push(match queues.describe_acks().await {
        Ok(queue) if queue.fifo => Finding::error(
            "SQS: ack queue",
            "it is a FIFO queue",
            "make it a standard queue: the loader sends to it without a group",
        ),
        Ok(queue) => Finding::ok("SQS: ack queue", format!("may be read, {} messages wait", queue.messages)),
        Err(error) => failed("SQS: ack queue", &error),
    });
    (findings, segments)
}

async fn segments(queues: &Queues, queue: &DescribedQueue) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.push(if queue.fifo {
        Finding::ok("SQS: segment queue", format!("FIFO, {} messages wait", queue.messages))
    } else {
        Finding::error(
            "SQS: segment queue",
            "it is no FIFO queue",
            "make a FIFO queue: segments have an order",
        )
    });
    if queue.retention < SHORT_RETENTION {
        let what = format!("messages stay for {} hours", queue.retention.as_secs() / 3600);
        findings.push(Finding::warning("SQS: retention", what, "keep them for 14 days"));
    }
    const DEAD: &str = "SQS: dead letters";
    let Some((name, deliveries)) = &queue.dead_letters else {
        let what = "there is no queue for them: a message that can't be read comes again for days";
        findings.push(Finding::warning(
            DEAD,
            what,
            "give the segment queue a redrive policy, as template.yaml does",
        ));
        return findings;
    };
    if *deliveries < FEW_DELIVERIES {
        let what = format!("messages go to {name} after {deliveries} deliveries: a short outage is enough");
        findings.push(Finding::warning(DEAD, what, "let maxReceiveCount be 60, as template.yaml does"));
        return findings;
    }
    findings.push(match queues.describe_by_name(name).await {
        Ok(dead) if dead.messages > 0 => Finding::warning(
            DEAD,
            format!("{} messages are in {name}", dead.messages),
            "see why (`re_dms status`); what was announced comes again by itself, so that they can be deleted then",
        ),
        Ok(_) => Finding::ok(DEAD, format!("{name} is empty; {deliveries} deliveries before")),
        // The capture itself never looks there: its role need not be allowed to.
        Err(_) => Finding::ok(DEAD, format!("{name}, which this role may not look into; {deliveries} deliveries before")),
    });
    findings
}
