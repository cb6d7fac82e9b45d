//! The driver of the official client against servers that are not there.

use testkit::socketio::Driver;

#[tokio::test]
async fn a_refused_connection_is_an_error_with_its_message() {
    let driver = Driver::start().await;
    let nowhere = format!("http://127.0.0.1:{}", testkit::free_port::any().unwrap());
    let refused = driver.connect(&nowhere, "token").await.err().unwrap();
    assert_eq!(refused.message, "websocket error");
    let refused = driver.connect_polling(&nowhere, "token").await.err().unwrap();
    assert_eq!(refused.message, "xhr poll error");
}
