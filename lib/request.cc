// SPDX-License-Identifier: Apache-2.0
#include <alertpipe/request.h>

#include <absl/strings/str_cat.h>

#include "core/grow_buffer.h"

namespace alertpipe {

std::string_view ToString(ResponseOutcome outcome) {
  switch (outcome) {
    case ResponseOutcome::kResponse:
      return "response";
    case ResponseOutcome::kDeadline:
      return "deadline";
    case ResponseOutcome::kPeerDied:
      return "peer died";
    case ResponseOutcome::kUnhandled:
      return "unhandled";
    case ResponseOutcome::kUndelivered:
      return "undelivered";
    case ResponseOutcome::kRefused:
      return "refused";
    case ResponseOutcome::kClosed:
      return "closed";
  }
  return "unknown";
}

absl::Status Response::status() const {
  const std::string peer = ToString(peer_);
  switch (outcome_) {
    case ResponseOutcome::kResponse:
      return absl::OkStatus();
    case ResponseOutcome::kDeadline:
      return absl::DeadlineExceededError(absl::StrCat(peer, " did not respond in time"));
    case ResponseOutcome::kPeerDied:
      return absl::UnavailableError(absl::StrCat(peer, " died before it responded"));
    case ResponseOutcome::kUnhandled:
      return absl::UnimplementedError(absl::StrCat(peer, " did not handle the request"));
    case ResponseOutcome::kUndelivered:
      return absl::ResourceExhaustedError(
          absl::StrCat("the request to ", peer, ", or its response, could not be held"));
    case ResponseOutcome::kRefused:
      return refusal_;
    case ResponseOutcome::kClosed:
      return absl::CancelledError(
          absl::StrCat("this endpoint was closed before ", peer, " responded"));
  }
  return absl::InternalError("unknown outcome");
}

absl::StatusOr<Buffer> Response::TakeData() { return core::TakeData(&data_, &collected_); }

}  // namespace alertpipe
