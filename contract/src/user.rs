//! Calls of the `user` service: accounts, sessions, profiles.

use serde::{Deserialize, Serialize};

use crate::{
    Actor, Done, SessionId, Time, UserId, calls,
    text::{AvatarUrl, Bio, Device, Email, Name, NewPassword, Secret},
};

/// What an account may do in the whole of Natter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    User,
    Admin,
}

/// What a person says about themselves at the moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// At most 100 characters.
    #[serde(default)]
    pub text: Option<Name>,
    #[serde(default)]
    pub emoji: Option<crate::text::Emoji>,
    /// After this it is gone.
    #[serde(default)]
    pub until: Option<Time>,
}

/// A person as others see them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    pub id: UserId,
    pub name: Name,
    pub avatar_url: Option<AvatarUrl>,
    pub bio: Option<Bio>,
    pub status: Option<Status>,
    pub created_at: Time,
}

/// A person as they see themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    #[serde(flatten)]
    pub user: User,
    pub email: Email,
    pub email_verified: bool,
    pub role: Role,
}

/// What a sign-in answers.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tokens {
    pub access_token: String,
    pub refresh_token: String,
    /// `Bearer` (RFC 6750).
    pub token_type: String,
    /// Seconds until the access token expires.
    pub expires_in: u64,
    pub user: Account,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("user", &self.user.user.id).finish_non_exhaustive()
    }
}

/// Claims of an access token (RFC 7519), an EdDSA JWT.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Claims {
    pub sub: UserId,
    pub sid: SessionId,
    pub role: Role,
    pub iss: String,
    pub aud: String,
    /// Seconds since 1970.
    pub exp: u64,
    pub iat: u64,
}

/// `iss` and `aud` of Natter's access tokens.
pub const TOKEN_ISSUER: &str = "natter";
pub const TOKEN_AUDIENCE: &str = "natter";

/// Where a request comes from, as far as the gateway knows: shown in the list of sessions.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Client {
    #[serde(default)]
    pub ip: Option<String>,
    #[serde(default)]
    pub user_agent: Option<String>,
}

/// `POST /api/auth/register`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Register {
    pub email: Email,
    pub password: NewPassword,
    pub name: Name,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Registered {
    /// Always `verification_required`.
    pub status: String,
}

/// `POST /api/auth/otp`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RequestOtp {
    pub email: Email,
}

/// `POST /api/auth/verify`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VerifyBody {
    pub email: Email,
    pub code: Secret,
    #[serde(default)]
    pub device: Option<Device>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Verify {
    pub body: VerifyBody,
    pub client: Client,
}

/// `POST /api/auth/login`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LoginBody {
    pub email: Email,
    pub password: Secret,
    #[serde(default)]
    pub device: Option<Device>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Login {
    pub body: LoginBody,
    pub client: Client,
}

/// `POST /api/auth/password/forgot`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ForgotPassword {
    pub email: Email,
}

/// `POST /api/auth/password/reset`: with the code that was mailed. Ends all sessions. Where no answer comes, or
/// `unavailable`, the same request may be repeated and completes what is missing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ResetPassword {
    pub email: Email,
    pub code: Secret,
    pub password: NewPassword,
}

/// `POST /api/auth/refresh`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefreshBody {
    pub refresh_token: Secret,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Refresh {
    pub body: RefreshBody,
    pub client: Client,
}

/// Revokes the actor's own session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Logout {
    pub actor: Actor,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GetMe {
    pub actor: Actor,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListSessions {
    pub actor: Actor,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sessions {
    /// Last used first.
    pub sessions: Vec<Session>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    pub id: SessionId,
    pub device: Option<Device>,
    pub ip: Option<String>,
    pub created_at: Time,
    pub last_used_at: Time,
    /// The one that asks.
    pub current: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevokeSession {
    pub actor: Actor,
    pub session_id: SessionId,
}

/// Public keys that access tokens verify with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GetJwks {}

/// JSON Web Key Set (RFC 7517) of Ed25519 keys (RFC 8037).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwks {
    pub keys: Vec<Jwk>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    /// `OKP`
    pub kty: String,
    /// `Ed25519`
    pub crv: String,
    /// The public key, base64url without padding.
    pub x: String,
    /// RFC 7638 thumbprint.
    pub kid: String,
    /// `EdDSA`
    pub alg: String,
    /// `sig`
    #[serde(rename = "use")]
    pub usage: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetUser {
    pub actor: Actor,
    pub user_id: UserId,
}

/// By prefix of the name (case-insensitive), or by the exact e-mail address.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SearchUsers {
    pub actor: Actor,
    pub query: String,
    #[serde(default)]
    pub cursor: Option<String>,
    pub limit: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserPage {
    pub users: Vec<User>,
    pub next_cursor: Option<String>,
}

/// `PATCH /api/users/update`: absent fields stay, `null` empties `bio` and `avatarUrl`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProfileChanges {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::text::present")]
    pub bio: Option<Option<Bio>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::text::present")]
    pub avatar_url: Option<Option<AvatarUrl>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UpdateProfile {
    pub actor: Actor,
    pub changes: ProfileChanges,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SetStatus {
    pub actor: Actor,
    pub status: Option<Status>,
}

/// Which of these people there are: asked by `chat` before they become members.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KnownUsers {
    /// At most 1,000.
    pub user_ids: Vec<UserId>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Known {
    pub user_ids: Vec<UserId>,
}

/// Where people get letters: for `mail` alone. Those who are not there, or have not proven their address, are absent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetContacts {
    /// At most 1,000.
    pub user_ids: Vec<UserId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    pub id: UserId,
    pub name: Name,
    pub email: Email,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Contacts {
    pub contacts: Vec<Contact>,
}

/// Everybody with a proven address, page by page in the order of their ids: for `mail` alone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListContacts {
    /// Those after this one.
    #[serde(default)]
    pub after: Option<UserId>,
    /// At most 1,000.
    pub limit: u32,
}

calls! {
    "call.user.register": Register => Registered;
    "call.user.otp": RequestOtp => Done;
    "call.user.verify": Verify => Tokens;
    "call.user.login": Login => Tokens;
    "call.user.forgot_password": ForgotPassword => Done;
    "call.user.reset_password": ResetPassword => Done;
    "call.user.refresh": Refresh => Tokens;
    "call.user.logout": Logout => Done;
    "call.user.me": GetMe => Account;
    "call.user.sessions": ListSessions => Sessions;
    "call.user.revoke_session": RevokeSession => Done;
    "call.user.jwks": GetJwks => Jwks;
    "call.user.get": GetUser => User;
    "call.user.search": SearchUsers => UserPage;
    "call.user.update": UpdateProfile => User;
    "call.user.status": SetStatus => User;
    "call.user.known": KnownUsers => Known;
    "call.user.contacts": GetContacts => Contacts;
    "call.user.list_contacts": ListContacts => Contacts;
}
