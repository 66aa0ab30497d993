//! The source's part: slot, event trigger with its schema, publication.

use crate::config::Config;
use crate::error::{Error, Result, Who};
use crate::receive;
use crate::source::Source;
use crate::start::{StreamRecord, StreamState, check_identity};

/// What is on the source.
pub(super) struct SourceSide {
    source: Source,
    slot: Slot,
    slot_name: String,
    trigger: bool,
    publication: Publication,
    publication_name: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Slot {
    Gone,
    Ours,
    /// The stream never used it.
    Foreign,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Publication {
    Gone,
    Goes,
    Stays,
}

impl SourceSide {
    pub(super) async fn look(
        config: &Config,
        record: Option<&StreamRecord>,
        any_publication: bool,
    ) -> Result<Self> {
        let source = Source::connect(&config.source).await?;
        if let Some(StreamState::Active { epoch, .. }) = record.map(|record| &record.state) {
            let server = receive::identify(&mut receive::connect(config).await?).await?;
            check_identity(config, epoch, &server)?;
        }
        let slot_name = config.slot.name.clone();
        let slot = match source.slot_facts(&slot_name).await? {
            None => Slot::Gone,
            Some(_) if record.is_none() => Slot::Foreign,
            Some(facts) if facts.active => {
                return Err(Error::fatal(
                    Who::Stream,
                    format!("the slot {slot_name} is read at this moment: a capture runs"),
                    "stop it, and keep its supervisor from starting it again (systemctl disable --now)",
                ));
            }
            Some(_) => Slot::Ours,
        };
        let publication_name = config.source.publication.clone();
        let trigger = source.has_any_ddl_trigger(&publication_name).await?;
        let is_ours = any_publication || record.is_some_and(|record| record.own_publication);
        let publication = match source.publishes_all(&publication_name).await? {
            None => Publication::Gone,
            Some(_) if is_ours => Publication::Goes,
            Some(_) => Publication::Stays,
        };
        Ok(Self { source, slot, slot_name, trigger, publication, publication_name })
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let (slot, publication) = (&self.slot_name, &self.publication_name);
        let mut lines = vec![match self.slot {
            Slot::Gone => format!("source: no slot {slot} is there"),
            Slot::Ours => format!("source: the slot {slot}"),
            Slot::Foreign => format!("source: the slot {slot} stays: this stream never used it"),
        }];
        if self.trigger {
            lines.push(format!("source: the event trigger of {publication}"));
        }
        match self.publication {
            Publication::Gone => {}
            Publication::Goes => lines.push(format!("source: the publication {publication}")),
            Publication::Stays => lines.push(format!(
                "source: the publication {publication} stays: the stream did not make it (--drop-publication)"
            )),
        }
        lines
    }

    /// Says how many things are left for somebody with more rights.
    pub(super) async fn remove(
        self,
        config: &Config,
        tell: &mut (dyn FnMut(String) + Send),
    ) -> Result<usize> {
        let Self { source, slot, slot_name, trigger, publication, publication_name } = self;
        if slot == Slot::Ours {
            source.drop_slot(&slot_name).await?;
            tell(format!("source: the slot {slot_name} dropped"));
        }
        let mut left = 0;
        let mut done = |what: String, result: Result<()>, by_hand: String| match result {
            Ok(()) => tell(what),
            Err(error) => {
                left += 1;
                tell(format!("source: left: {}\n  hint: {by_hand}", error.what));
            }
        };
        if trigger {
            let removed = source.remove_ddl_trigger(&publication_name).await;
            let by_hand =
                "as a superuser DROP SCHEMA re_dms CASCADE, unless other streams' event triggers are in it";
            done(
                format!("source: the event trigger of {publication_name} removed"),
                removed,
                by_hand.to_owned(),
            );
        }
        if publication == Publication::Goes {
            let dropped = source.drop_publication(&config.source.publication).await;
            let by_hand = format!("as its owner DROP PUBLICATION {}", crate::sql::ident(&publication_name));
            done(format!("source: the publication {publication_name} dropped"), dropped, by_hand);
        }
        Ok(left)
    }
}
