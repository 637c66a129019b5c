use std::collections::BTreeSet;

use proptest::prelude::*;

use super::timer::{GIVE_UP, T1, T2};
use super::*;

/// What may happen to a transaction; a step that its kind does not know is passed over.
#[derive(Clone, Copy, Debug)]
enum Input {
    Code(u16),
    Fire(Timer),
    Again,
    Acknowledge,
}

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let timer = prop::sample::select(vec![
        Timer::A,
        Timer::B,
        Timer::C,
        Timer::D,
        Timer::E,
        Timer::F,
        Timer::G,
        Timer::H,
        Timer::I,
        Timer::J,
        Timer::K,
        Timer::L,
        Timer::M,
        Timer::Node,
        Timer::Trying,
    ]);
    let input = prop_oneof![
        prop::sample::select(vec![
            100_u16, 180, 199, 200, 202, 300, 404, 487, 503, 600, 699
        ])
        .prop_map(Input::Code),
        timer.prop_map(Input::Fire),
        Just(Input::Again),
        Just(Input::Acknowledge),
    ];
    prop::collection::vec(input, 0..24)
}

/// The arrows of the state graphs, as `from -> to`.
fn arrows(text: &str) -> BTreeSet<(String, String)> {
    text.split_whitespace()
        .filter_map(|arrow| arrow.split_once("->"))
        .map(|(from, to)| (from.to_owned(), to.to_owned()))
        .collect()
}

fn check(graph: &str, path: &[String]) -> Result<(), TestCaseError> {
    let allowed = arrows(graph);
    for pair in path.windows(2) {
        let arrow = (pair[0].clone(), pair[1].clone());
        prop_assert!(arrow.0 == arrow.1 || allowed.contains(&arrow), "{arrow:?}");
    }
    Ok(())
}

proptest! {
    #[test]
    fn an_invite_client_moves_only_along_the_graph(is_reliable: bool, inputs in inputs()) {
        let (mut client, _) = InviteClient::new(is_reliable);
        let mut path = vec![format!("{:?}", client.state())];
        let mut errors = 0;
        for input in inputs {
            let step = match input {
                Input::Code(code) => client.handle_response(code),
                Input::Fire(timer) => client.handle_timer(timer),
                Input::Again | Input::Acknowledge => continue,
            };
            if let Input::Code(code) = input && step.deliver && code >= 300 {
                errors += 1;
            }
            path.push(format!("{:?}", client.state()));
        }
        prop_assert!(errors <= 1, "more than one final error was handed up");
        check(
            "Calling->Proceeding Calling->Accepted Calling->Completed Calling->Terminated \
             Calling->Late Late->Proceeding Late->Accepted Late->Terminated \
             Proceeding->Accepted Proceeding->Completed Proceeding->Terminated \
             Completed->Terminated Accepted->Terminated",
            &path,
        )?;
    }

    #[test]
    fn another_client_moves_only_along_the_graph(is_reliable: bool, inputs in inputs()) {
        let (mut client, _) = NonInviteClient::new(is_reliable);
        let mut path = vec![format!("{:?}", client.state())];
        let mut finals = 0;
        for input in inputs {
            let step = match input {
                Input::Code(code) => client.handle_response(code),
                Input::Fire(timer) => client.handle_timer(timer),
                Input::Again | Input::Acknowledge => continue,
            };
            if let Input::Code(200..) = input && step.deliver {
                finals += 1;
            }
            finals += u32::from(step.is_timed_out);
            path.push(format!("{:?}", client.state()));
        }
        prop_assert!(finals <= 1, "more than one final result");
        check(
            "Trying->Proceeding Trying->Completed Trying->Terminated \
             Proceeding->Completed Proceeding->Terminated Completed->Terminated",
            &path,
        )?;
    }

    #[test]
    fn an_invite_server_moves_only_along_the_graph(is_reliable: bool, inputs in inputs()) {
        let (mut server, _) = InviteServer::new(is_reliable);
        let mut path = vec![format!("{:?}", server.state())];
        let (mut errors, mut successes) = (0, 0);
        for input in inputs {
            let step = match input {
                Input::Code(code) => server.handle_answer(code),
                Input::Fire(timer) => server.handle_timer(timer),
                Input::Again => server.handle_request(),
                Input::Acknowledge => server.handle_acknowledgement(),
            };
            if let Input::Code(code) = input && step.deliver {
                errors += u32::from(code >= 300);
                successes += u32::from((200..300).contains(&code));
            }
            path.push(format!("{:?}", server.state()));
        }
        prop_assert!(errors <= 1 && (errors == 0 || successes == 0), "an error and a 2xx");
        check(
            "Proceeding->Accepted Proceeding->Completed Completed->Confirmed \
             Completed->Terminated Confirmed->Terminated Accepted->Terminated",
            &path,
        )?;
    }

    #[test]
    fn another_server_sends_one_final_response(is_reliable: bool, inputs in inputs()) {
        let (mut server, _) = NonInviteServer::new(is_reliable);
        let mut path = vec![format!("{:?}", server.state())];
        let mut finals = 0;
        for input in inputs {
            let step = match input {
                Input::Code(code) => server.handle_answer(code),
                Input::Fire(timer) => server.handle_timer(timer),
                Input::Again => server.handle_request(),
                Input::Acknowledge => continue,
            };
            if let Input::Code(code) = input && step.deliver {
                prop_assert!(code >= 200, "RFC 4320: no provisional response passes");
                finals += 1;
            }
            path.push(format!("{:?}", server.state()));
        }
        prop_assert!(finals <= 1, "more than one final response");
        check(
            "Trying->Proceeding Trying->Completed Trying->Terminated \
             Proceeding->Completed Proceeding->Terminated Completed->Terminated",
            &path,
        )?;
    }
}

/// Fires the timers of a transaction until it ends; returns when it sent something again.
fn run(
    mut step: Step,
    mut fire: impl FnMut(Timer) -> Step,
    until: Duration,
) -> (Vec<Duration>, bool) {
    let mut waiting: Vec<(Duration, Timer)> = Vec::new();
    let mut now = Duration::ZERO;
    let mut sent = Vec::new();
    loop {
        for (timer, after) in step.timers.into_iter().flatten() {
            waiting.push((now + after, timer));
        }
        waiting.sort();
        if waiting.is_empty() || waiting[0].0 > until {
            return (sent, false);
        }
        let (at, timer) = waiting.remove(0);
        now = at;
        step = fire(timer);
        if step.send == Some(Resend::Last) {
            sent.push(now);
        }
        if step.is_timed_out {
            return (sent, true);
        }
    }
}

#[test]
fn an_invite_over_udp_is_sent_seven_times_and_then_given_up() {
    let (mut client, step) = InviteClient::new(false);

    let (sent, is_timed_out) = run(step, |timer| client.handle_timer(timer), GIVE_UP);

    let halves = [1, 3, 7, 15, 31, 63].map(|n| T1 * n);
    assert_eq!(sent, halves);
    assert!(is_timed_out);
}

#[test]
fn another_request_over_udp_is_sent_eleven_times() {
    let (mut client, step) = NonInviteClient::new(false);

    let (sent, is_timed_out) = run(step, |timer| client.handle_timer(timer), GIVE_UP);

    assert_eq!(sent.len(), 10);
    assert!(sent.windows(2).all(|pair| pair[1] <= pair[0] + T2));
    assert!(is_timed_out);
}

#[test]
fn nothing_is_sent_again_over_a_reliable_transport() {
    let (mut invite, step) = InviteClient::new(true);
    assert_eq!(
        run(step, |t| invite.handle_timer(t), GIVE_UP),
        (vec![], true)
    );
    let (mut other, step) = NonInviteClient::new(true);
    assert_eq!(
        run(step, |t| other.handle_timer(t), GIVE_UP),
        (vec![], true)
    );
    let (mut server, _) = InviteServer::new(true);
    let step = server.handle_answer(486);
    assert_eq!(
        run(step, |t| server.handle_timer(t), GIVE_UP),
        (vec![], true)
    );
}

#[test]
fn a_final_error_over_udp_is_repeated_until_the_ack() {
    let (mut server, _) = InviteServer::new(false);
    let step = server.handle_answer(486);
    let (sent, is_timed_out) = run(step, |t| server.handle_timer(t), GIVE_UP);
    assert_eq!(sent.len(), 10);
    assert!(is_timed_out);

    let (mut server, _) = InviteServer::new(false);
    let _ = server.handle_answer(486);
    let step = server.handle_acknowledgement();
    let (sent, _) = run(step, |t| server.handle_timer(t), GIVE_UP);
    assert!(sent.is_empty());
    assert_eq!(server.state(), invite_server::State::Terminated);
}

#[test]
fn trying_is_sent_only_if_nothing_better_was_there_in_time() {
    let (mut silent, _) = InviteServer::new(true);
    assert_eq!(
        silent.handle_timer(Timer::Trying).send,
        Some(Resend::Trying)
    );

    let (mut ringing, _) = InviteServer::new(true);
    assert!(ringing.handle_answer(180).deliver);
    assert_eq!(ringing.handle_timer(Timer::Trying).send, None);
}

#[test]
fn two_hundreds_pass_again_and_again_until_the_accepted_state_ends() {
    let (mut client, _) = InviteClient::new(false);
    let (mut server, _) = InviteServer::new(false);

    for _ in 0..3 {
        assert!(client.handle_response(200).deliver);
        assert!(server.handle_answer(200).deliver);
        assert_eq!(server.handle_request(), Step::NOTHING);
    }
    let _ = client.handle_timer(Timer::M);
    let _ = server.handle_timer(Timer::L);

    assert!(!client.handle_response(200).deliver);
    assert!(!server.handle_answer(200).deliver);
}
