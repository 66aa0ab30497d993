//! The proof that ranges belong where they are put: a source whose transactions become visible late, a table in Redshift that is
//! wrong everywhere, and random histories in between. What is read must be right from then on, at every cut.

mod source;
mod target;
mod world;

use proptest::prelude::*;

use crate::resync::Placed;
use source::{KEYS, OID, Op};
use world::World;

#[derive(Clone, Debug)]
enum Event {
    /// Commits; maybe nobody sees it yet.
    Transaction {
        ops: Vec<Op>,
        visible: bool,
    },
    Truncate,
    /// The oldest transaction that nobody sees is seen.
    Appear,
    /// Reads so many rows of what is left.
    Read(u8),
    /// Writes the message behind what was read.
    Place,
    /// The reader loses its connection and begins anew.
    BeginAnew,
    Cut,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let key = || 0..KEYS;
    let body = || prop::option::weighted(0.4, 0..9_u8);
    let op = || {
        prop_oneof![
            4 => (key(), 0..9_u8, body()).prop_map(|(key, n, body)| Op::Write { key, n, body }),
            4 => (key(), key(), body()).prop_map(|(key, to, body)| Op::Rekey { key, to, body }),
            2 => key().prop_map(|key| Op::Delete { key }),
        ]
    };
    let event = prop_oneof![
        10 => (prop::collection::vec(op(), 1..4), prop::bool::weighted(0.7))
            .prop_map(|(ops, visible)| Event::Transaction { ops, visible }),
        4 => (0..4_u8).prop_map(Event::Read),
        4 => Just(Event::Place),
        3 => Just(Event::Appear),
        2 => Just(Event::Cut),
        1 => prop::bool::weighted(0.5).prop_map(|yes| if yes { Event::Truncate } else { Event::BeginAnew }),
    ];
    prop::collection::vec(event, 0..70)
}

fn check(damage: &[(u8, u8)], events: &[Event]) {
    let mut world = World::new(damage);
    for event in events {
        match event {
            Event::Transaction { ops, visible } => world.write(ops, *visible),
            Event::Truncate => world.truncate(),
            Event::Appear => world.source.appear(),
            Event::Read(limit) if world.pending.is_none() => world.read(*limit),
            Event::Place => drop(world.place()),
            Event::BeginAnew if world.collector.relations.wish_for(OID).is_some() => world.begin(),
            Event::Cut => world.cut(),
            Event::Read(_) | Event::BeginAnew => {}
        }
    }
    world.cut();
    // Whatever happened, it comes to an end once there is some peace.
    world.source.appear_all();
    for _ in 0..100 {
        drop(world.place());
        world.read(3);
    }
    world.cut();
    assert!(world.collector.relations.wish_for(OID).is_none(), "{:?}", world.left);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn what_is_read_is_right_from_then_on(
        damage in prop::collection::vec((0..KEYS, 0..9_u8), 0..12),
        events in events(),
    ) {
        check(&damage, &events);
    }
}

/// Rows that were read before the table's definition changed are of another table than the one behind the change.
#[test]
fn what_was_read_before_a_change_of_the_definition_is_void() {
    let mut world = World::new(&[(1, 1), (5, 5)]);
    world.write(&[Op::Delete { key: 0 }], true);
    world.read(3);
    world.widen();
    assert_eq!(world.place(), Some(Placed::Begin));
    world.begin();
    world.read(9);
    assert!(matches!(world.place(), Some(Placed::Begin | Placed::Done(_))));
}
