//! The operator's listener's routes.

use super::super::problem::ProblemKind::{Conflict, EventRefused, NotFound};
use super::super::{admin, backup, health, openapi, operations, out_of_service};
use super::Access::{Anybody, Operator};
use super::everybody::{LIVE, READY};
use super::parameters::{ACCOUNT, AGREEMENT};
use super::{Handler, Route, asks, bytes, get, json, later, post, typed};
use crate::wire::operations as wire;
use crate::wire::{account::AccountWithKeys, agreements::History, status::Status};

pub(super) static ROUTES: [Route; 18] = [
    post(
        "/accounts",
        Operator,
        (typed::<wire::OpenAccount>(), typed::<wire::OpenedAccount>()),
        "Open an account, or make another API key for it",
        later!(|host, _, request| admin::open_account(host, request)),
    )
    .creates()
    .fails(&[Conflict]),
    get(
        "/accounts",
        Operator,
        typed::<wire::Accounts>(),
        "Every account, and its standing",
        later!(|host, _, request| operations::accounts(host, &request)),
    ),
    get(
        "/accounts/{name}",
        Operator,
        typed::<AccountWithKeys>(),
        "An account with its API keys",
        Handler::Now(|host, [name, ..], request| operations::account(host, name, request)),
    )
    .of(&[ACCOUNT])
    .fails(&[NotFound]),
    post(
        "/actions",
        Operator,
        (typed::<wire::Act>(), typed::<wire::Acted>()),
        "Suspend, close, withdraw, revoke or stop, with a reason; or undo it",
        later!(|host, _, request| operations::act(host, request)),
    )
    .fails(&[Conflict, NotFound]),
    get(
        "/actions",
        Operator,
        typed::<wire::ActionLog>(),
        "Every action, each with its proof in the log",
        asks!(operations::Later, |host, asked, request| operations::log(host, asked, request)),
    ),
    get(
        "/withdrawals",
        Operator,
        typed::<wire::Withdrawals>(),
        "What is withdrawn or frozen now",
        Handler::Now(|host, _, request| operations::withdrawals(host, request)),
    ),
    post(
        "/agreements/{id}/events",
        Operator,
        (typed::<wire::Operate>(), typed::<History>()),
        "Suspend or resume an agreement",
        later!(|host, [id, ..], request| admin::operate(host, id, request)),
    )
    .of(&[AGREEMENT])
    .fails(&[EventRefused, Conflict, NotFound]),
    get(
        "/out-of-service",
        Operator,
        typed::<wire::OutOfService>(),
        "Versions that could not be loaded, and why",
        Handler::Now(|host, _, request| out_of_service::show(host, request)),
    ),
    post(
        "/out-of-service/retry",
        Operator,
        (typed::<wire::WhichVersion>(), typed::<wire::Retried>()),
        "Load such a version again",
        later!(|host, _, request| out_of_service::retry(host, request)),
    )
    .fails(&[Conflict, NotFound]),
    post(
        "/out-of-service/withdraw",
        Operator,
        (typed::<wire::WhichVersion>(), typed::<wire::TakenAway>()),
        "Withdraw such a version",
        later!(|host, _, request| out_of_service::withdraw(host, request)),
    )
    .fails(&[Conflict, NotFound]),
    get(
        "/out-of-service/record",
        Operator,
        bytes(&["application/octet-stream"]),
        "The bytes of a record that could not be read",
        asks!(out_of_service::WhichRecord, |host, asked, request| {
            out_of_service::record(host, asked, request)
        }),
    )
    .fails(&[NotFound]),
    post(
        "/out-of-service/remove",
        Operator,
        (typed::<wire::RemoveRecord>(), typed::<wire::RemovedRecord>()),
        "Remove such a record",
        later!(|host, _, request| out_of_service::remove(host, request)),
    )
    .fails(&[Conflict, NotFound]),
    get(
        "/backup",
        Operator,
        bytes(&["application/x-tar"]),
        "The data directory as it is now, without the host's key",
        later!(|host, _, request| backup::make(host, &request)),
    ),
    post(
        "/lost",
        Operator,
        (typed::<wire::Shown>(), typed::<wire::Lost>()),
        "Show the host receipts that its log may lack",
        later!(|host, _, request| backup::show_lost(host, request)),
    ),
    get(
        "/status",
        Operator,
        typed::<Status>(),
        "What runs on this host",
        later!(|host, _, request| admin::status(host, &request)),
    ),
    get(
        "/api/openapi.json",
        Anybody,
        json(),
        "These routes as an OpenAPI document",
        later!(|host, _, request| openapi::of_operator(host, &request)),
    )
    .cached()
    .for_the_operator(),
    LIVE.for_the_operator(),
    READY_IN_DETAIL.for_the_operator(),
];

/// Readiness, with how many versions are concerned.
const READY_IN_DETAIL: Route =
    Route { handler: Handler::Now(|host, _, _| health::ready_in_detail(host)), ..READY };
