//! What says how long to wait, and follows the time by itself.

use super::*;

#[tokio::test]
async fn a_waiting_page_renews_itself_by_a_get_and_says_how_long() {
    let frame = &frame(Language::English);
    let page = waiting(
        frame,
        StatusCode::TOO_MANY_REQUESTS,
        &wait_for(AwaitedStep::Login),
    );
    assert_eq!(
        page.headers()[header::REFRESH],
        "15;url=/.portvakt/wait?until=1"
    );
    assert_eq!(page.headers()[header::RETRY_AFTER], "43");
    let html = text(page).await;
    assert!(html.contains("You can try again in 43 seconds."));
    // A `meta` element would take people by surprise, and their readers too (WCAG 2.2, F41).
    assert!(!html.contains("http-equiv"));
    let later = waiting(frame, StatusCode::OK, &wait_for(AwaitedStep::Resend));
    assert!(!later.headers().contains_key(header::RETRY_AFTER));
    assert!(text(later).await.contains("still good"));
}

#[tokio::test]
async fn the_button_for_a_new_code_says_when_it_comes() {
    let frame = &frame(Language::English);
    let html = async |wait| {
        let form = CodeForm {
            resend_in: Duration::from_millis(wait),
            ..code_form(None)
        };
        text(form.page(frame, StatusCode::OK)).await
    };
    let css = include_str!("../assets/style.css");
    for (wait, said) in [(1, 5), (42_001, 45), (60_000, 60), (90_000, 60)] {
        let html = html(wait).await;
        assert!(
            html.contains(&format!("class=\"resend in-{said}\"")),
            "{wait}"
        );
        assert!(html.contains(&format!("<span>{said}</span>")), "{wait}");
        assert!(css.contains(&format!(".in-{said} {{")), "{wait}");
    }
    let now = html(0).await;
    assert!(now.contains("class=\"resend\"") && !now.contains("later"));
}
