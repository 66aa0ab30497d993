//! Questions to the loader that belong behind one segment and before the next.

use re_dms_shared::verify::VerifyRequest;
use tokio::sync::mpsc;

/// Those that wait for their segment to be announced.
#[derive(Debug)]
pub struct Asks {
    incoming: mpsc::UnboundedReceiver<VerifyRequest>,
    waiting: Vec<VerifyRequest>,
}

impl Asks {
    /// None yet. Whoever stages a segment sends what belongs before it first.
    #[must_use]
    pub fn new(incoming: mpsc::UnboundedReceiver<VerifyRequest>) -> Self {
        Self { incoming, waiting: Vec::new() }
    }

    /// Those that belong behind the segment `announced`, or an earlier one.
    pub(super) fn due(&mut self, announced: u64) -> Vec<VerifyRequest> {
        while let Ok(ask) = self.incoming.try_recv() {
            self.waiting.push(ask);
        }
        self.waiting.extract_if(.., |ask| ask.seq <= announced).collect()
    }

    /// Returns once there is one more.
    pub(super) async fn come(&mut self) {
        match self.incoming.recv().await {
            Some(ask) => self.waiting.push(ask),
            // Nobody asks any more.
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(seq: u64) -> VerifyRequest {
        VerifyRequest {
            format: 1,
            request: "verify".into(),
            stream: "main".into(),
            epoch: "E".into(),
            seq,
            id: seq.to_string(),
            bucket: String::new(),
            checks_key: String::new(),
            answer_key: String::new(),
        }
    }

    #[test]
    fn questions_wait_for_their_segment() {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut asks = Asks::new(receiver);
        for seq in [7, 9] {
            sender.send(ask(seq)).unwrap();
        }
        assert!(asks.due(6).is_empty());
        assert_eq!(asks.due(7), [ask(7)]);
        assert!(asks.due(8).is_empty());
        assert_eq!(asks.due(12), [ask(9)]);
        assert!(asks.due(12).is_empty(), "once");
    }
}
