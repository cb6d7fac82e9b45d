//! Asking for a code to sign in with.

use contract::{Done, Refusal, user::RequestOtp};

use crate::Shared;

/// Whether the address is known is not even looked up.
pub(crate) async fn request_otp(state: Shared, request: RequestOtp) -> Result<Done, Refusal> {
    state.codes.send_sign_in(&request.email).await.map(|()| Done {})
}
