//! One refresh of a token at a time.

use super::*;

#[tokio::test(start_paused = true)]
async fn who_comes_second_gets_the_first_ones_answer() {
    let sessions = in_memory();
    let flight = yours(&sessions, "r1").await;
    flight.depart().await.unwrap();
    let second = tokio::spawn({
        let sessions = sessions.clone();
        async move { sessions.refresh_turn(&token("r1")).await }
    });
    tokio::task::yield_now().await;

    flight.land(&Secret::new("r2".to_owned())).await.unwrap();

    match second.await.unwrap().unwrap() {
        Turn::Landed(answer) => assert_eq!(answer.reveal(), "r2"),
        Turn::Yours(_) => panic!("the token would be used twice"),
    }
    let other = yours(&sessions, "another").await;
    assert_eq!(other.fence(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_was_not_used_passes_on() {
    let sessions = in_memory();
    let first = yours(&sessions, "r1").await;
    first.release().await.unwrap();
    let second = yours(&sessions, "r1").await;
    drop(second);

    let third = sessions.refresh_turn(&token("r1")).await;

    assert!(matches!(third, Ok(Turn::Yours(_))), "{third:?}");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_sent_and_never_answered_is_in_doubt() {
    let sessions = in_memory();
    let first = yours(&sessions, "r1").await;
    first.depart().await.unwrap();
    drop(first);

    let second = sessions.refresh_turn(&token("r1")).await;

    assert_eq!(second.map(drop), Err(TurnError::InDoubt));
}

#[tokio::test(start_paused = true)]
async fn who_was_too_slow_must_not_send_the_token() {
    let sessions = in_memory();
    let slow = yours(&sessions, "r1").await;
    tokio::time::advance(limits::REFRESH_CLAIM_LIFETIME).await;
    let quick = yours(&sessions, "r1").await;

    assert_eq!(slow.depart().await, Err(TurnError::InDoubt));
    assert_eq!(quick.depart().await, Ok(()));
}

async fn yours(sessions: &Sessions, text: &str) -> Flight {
    match sessions.refresh_turn(&token(text)).await.unwrap() {
        Turn::Yours(flight) => flight,
        Turn::Landed(_) => panic!("somebody has done it"),
    }
}

fn token(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}
