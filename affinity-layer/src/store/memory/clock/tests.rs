use super::super::digest::Digester;
use super::*;

/// Distinct digests, and a ring with them in their order.
fn ring(len: usize) -> (Vec<Digest>, Clock) {
    let digester = Digester::default();
    let digests: Vec<_> =
        (0..len).map(|n| digester.digest(|hash| hash(&n.to_le_bytes()))).collect();
    let mut clock = Clock::default();
    for digest in &digests {
        assert!(!clock.take_place(*digest).reused);
    }
    (digests, clock)
}

#[test]
fn a_ring_grows_by_a_sixteenth() {
    let (_, mut clock) = ring(1);
    let digest = clock.ring[0].unwrap();
    for _ in 0..10_000 {
        let (len, before) = (clock.ring.len(), clock.ring.capacity());
        clock.take_place(digest);
        let grown = clock.ring.capacity();
        assert!(
            grown == before || (len == before && grown <= len + len / 16 + 4),
            "{len}: {grown}"
        );
        assert!(grown == before || grown > len + len / 32, "{len}: not one by one");
    }
}

#[test]
fn the_hand_meets_one_after_the_other_and_begins_again() {
    let (digests, mut clock) = ring(3);
    let met: Vec<_> = (0..7).map(|_| clock.advance(|_| false).unwrap()).collect();
    let expected = (0..7_u32).map(|n| (digests[n as usize % 3], n % 3));
    assert_eq!(met, expected.collect::<Vec<_>>());
    clock.vacate(1);
    assert_eq!(clock.advance(|digest| digest == digests[0]), Some((digests[2], 2)));
    assert_eq!(clock.advance(|_| true), None);
    assert_eq!(Clock::default().advance(|_| false), None);
}

#[test]
fn a_sweep_looks_at_one_place_after_the_other_and_begins_again() {
    let (digests, mut clock) = ring(3);
    clock.vacate(1);
    let swept: Vec<_> = (0..6).map(|_| clock.sweep()).collect();
    let turn = [Some((digests[0], 0)), None, Some((digests[2], 2))];
    assert_eq!(swept, [turn, turn].concat());
    assert_eq!(Clock::default().sweep(), None);
}

#[test]
fn a_place_that_was_given_back_is_taken_first() {
    let (digests, mut clock) = ring(2);
    clock.vacate(0);
    let place = clock.take_place(digests[0]);
    assert_eq!((place.index, place.reused), (0, true));
    let place = clock.take_place(digests[1]);
    assert_eq!((place.index, place.reused), (2, false));
}

#[test]
fn a_listing_goes_on_where_a_stretch_has_ended() {
    for (len, ends) in [(0, vec![]), (64, vec![]), (65, vec![64]), (130, vec![64, 128])] {
        let clocks = Clocks(Box::new([Mutex::new(ring(len).1)]));
        let (mut from, mut seen, mut next) = (0, 0, Vec::new());
        loop {
            let stretch = clocks.stretch(0, from).unwrap();
            seen += stretch.entries.len();
            let Some(on) = stretch.next else { break };
            next.push(on);
            from = on;
        }
        assert_eq!((seen, next), (len, ends), "{len}");
        assert!(clocks.stretch(1, 0).is_none(), "there is one ring");
    }
}

#[test]
fn an_eviction_hands_the_place_on() {
    let clocks = Clocks(Box::new([Mutex::new(ring(3).1)]));
    let newcomer = Digester::default().digest(|hash| hash(b"new"));
    let mut asked = Vec::new();
    let place = clocks.evict(
        newcomer,
        |_| false,
        |_, index, must_go| {
            asked.push((index, must_go));
            index == 1
        },
    );
    assert_eq!((place.unwrap().index, asked), (1, vec![(0, false), (1, false)]));
    assert_eq!(clocks.lock(0).unwrap().ring[1], Some(newcomer));
    // When nobody goes by itself, the first that was met has to.
    let mut must = Vec::new();
    let place = clocks.evict(
        newcomer,
        |_| false,
        |_, index, must_go| {
            must.extend(must_go.then_some(index));
            must_go
        },
    );
    assert_eq!((place.unwrap().index, must), (2, vec![2]));
    assert!(clocks.evict(newcomer, |_| false, |_, _, _| false).is_none());
    assert!(Clocks::new(1).evict(newcomer, |_| false, |_, _, _| true).is_none());
}
