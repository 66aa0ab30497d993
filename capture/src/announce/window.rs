//! Which segment is announced next: no more than a few ahead of what is loaded, so that a queue that nobody empties does
//! not fill up, however often they are announced again.

/// So many segments may be announced and not loaded: two invocations' worth, so that the loader never waits for us.
const AHEAD: u64 = 20;

/// What was heard of the loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// The segment is in the ledger.
    Loaded(u64),
    /// The ledger lacks this segment, and whatever was announced behind it was refused. Also if it was taken for loaded:
    /// Redshift may have been restored to an older state.
    Missing(u64),
    /// Nothing for a long time.
    Silence,
}

/// The segments that may be announced now.
#[derive(Debug)]
pub(super) struct Window {
    /// The last that the ledger has, as far as is known.
    loaded: u64,
    /// The first that is not announced yet.
    next: u64,
    /// Announced once more because nobody answered.
    again: Option<Again>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    Due(u64),
    Sent(u64),
}

impl Window {
    /// Everything up to `loaded` is in the ledger. What of the rest a former run announced is not known.
    pub(super) fn new(loaded: u64) -> Self {
        Self { loaded, next: loaded + 1, again: None }
    }

    /// The segment to announce now, of those up to `staged`.
    pub(super) fn due(&self, staged: u64) -> Option<u64> {
        match self.again {
            Some(Again::Due(seq)) => Some(seq),
            _ => (self.next <= staged && self.next <= self.loaded + AHEAD).then_some(self.next),
        }
    }

    /// What was due is announced.
    pub(super) fn announced(&mut self) {
        match self.again {
            Some(Again::Due(seq)) => self.again = Some(Again::Sent(seq)),
            _ => self.next += 1,
        }
    }

    /// The last segment that was announced, or that the ledger had before.
    pub(super) fn announced_up_to(&self) -> u64 {
        self.next - 1
    }

    pub(super) fn hear(&mut self, news: News) {
        match news {
            News::Loaded(seq) => {
                self.loaded = self.loaded.max(seq);
                self.next = self.next.max(seq + 1);
                if let Some(Again::Due(sent) | Again::Sent(sent)) = self.again
                    && seq >= sent
                {
                    // Somebody is there again. Whether the messages behind that one are still there is not known.
                    self.again = None;
                    self.next = seq + 1;
                }
            }
            News::Missing(seq) => {
                self.loaded = seq.saturating_sub(1);
                self.next = seq;
                self.again = None;
            }
            // Only the oldest: nothing can be loaded before it, and if nobody listens it is one message.
            News::Silence => {
                let oldest = self.loaded + 1;
                self.again = (oldest < self.next).then_some(Again::Due(oldest));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Announces all that is due.
    fn announce(window: &mut Window, staged: u64) -> Vec<u64> {
        std::iter::from_fn(|| {
            let due = window.due(staged)?;
            window.announced();
            Some(due)
        })
        .collect()
    }

    #[test]
    fn no_more_than_a_few_are_ahead_of_the_loader() {
        let mut window = Window::new(100);
        assert_eq!(announce(&mut window, 103), [101, 102, 103]);
        assert!(announce(&mut window, 103).is_empty());
        assert_eq!(announce(&mut window, 5000), (104..=120).collect::<Vec<_>>());
        window.hear(News::Loaded(101));
        assert_eq!(announce(&mut window, 5000), [121]);
        // late and repeated news
        window.hear(News::Loaded(90));
        window.hear(News::Loaded(101));
        assert!(announce(&mut window, 5000).is_empty());
        // receipts tell of many at once
        window.hear(News::Loaded(400));
        assert_eq!(announce(&mut window, 402), [401, 402]);
    }

    #[test]
    fn silence_repeats_one_message_and_its_answer_the_rest() {
        let mut window = Window::new(0);
        window.hear(News::Silence);
        assert!(announce(&mut window, 0).is_empty(), "there is nothing to repeat");
        assert_eq!(announce(&mut window, 5), [1, 2, 3, 4, 5]);
        for _ in 0..3 {
            window.hear(News::Silence);
            assert_eq!(announce(&mut window, 5), [1]);
        }
        window.hear(News::Loaded(1));
        assert_eq!(announce(&mut window, 6), [2, 3, 4, 5, 6]);
        window.hear(News::Loaded(2));
        assert!(announce(&mut window, 6).is_empty(), "once");
    }

    #[test]
    fn a_gap_is_filled_from_its_beginning() {
        let mut window = Window::new(50);
        assert_eq!(announce(&mut window, 52), [51, 52]);
        window.hear(News::Missing(3));
        assert_eq!(announce(&mut window, 52), (3..=22).collect::<Vec<_>>(), "also what was taken for loaded");
        window.hear(News::Loaded(12));
        assert_eq!(announce(&mut window, 52), (23..=32).collect::<Vec<_>>());
    }
}
