// SPDX-License-Identifier: Apache-2.0
//
// What the calls of an endpoint return. All of them hold an absl::Status, but unlike absl::Status
// they may be ignored without a cast: a refused call has changed nothing.
//
// The codes, and what the caller should do:
//
//   kInvalidArgument     A limit is exceeded or an argument makes no sense; the message names the
//                        limit and the value. Fix the call; trying again is useless. Also data
//                        longer than a queue's limit that is not handed over as a Buffer.
//   kNotFound            No process of the family has this pid or slot. Pick another receiver.
//   kUnavailable         The receiver is dead, or is no endpoint (a slot without a worker, a master
//                        that is not attached to a loop), or there is no live worker to choose
//                        from. Pick another receiver, or wait for a worker to join.
//   kResourceExhausted   A queue is full (the message names the peer, the option, its value and
//                        the usage) or memory is short. Try again when OnDrained has been called
//                        for that peer.
//   kFailedPrecondition  This endpoint cannot be used: not attached yet, closing or closed, or it
//                        belongs to the process that this one was forked from. Nothing can be sent
//                        from here.
#ifndef ALERTPIPE_RESULT_H_
#define ALERTPIPE_RESULT_H_

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include <absl/status/status.h>

#include <alertpipe/peer.h>

namespace alertpipe {

// A status that may be ignored.
class Result {
 public:
  Result() = default;
  // NOLINTNEXTLINE(google-explicit-constructor): a status is a result
  Result(absl::Status status) : status_(std::move(status)) {}
  // NOLINTNEXTLINE(google-explicit-constructor): and back
  operator const absl::Status&() const { return status_; }

  bool ok() const { return status_.ok(); }
  const absl::Status& status() const { return status_; }

 private:
  absl::Status status_;
};

enum class Outcome : std::uint8_t {
  kRefused,  // nothing was accepted; status() says why
  kQueued,   // accepted, and still (partly) held by this process
  kWritten,  // accepted, and all of it is in the receiver's pipe
};

// What became of one alert.
class SendResult : public Result {
 public:
  SendResult(absl::Status refused)  // NOLINT(google-explicit-constructor)
      : Result(std::move(refused)) {}
  SendResult(Outcome outcome, std::uint64_t alert_id) : alert_id_(alert_id), outcome_(outcome) {}

  Outcome outcome() const { return outcome_; }
  // Names the alert among all that this endpoint sent to the same incarnation, in the order of
  // sending, from 1. OnUndelivered names the same id if the alert fails later. 0 when refused.
  std::uint64_t alert_id() const { return alert_id_; }

 private:
  std::uint64_t alert_id_ = 0;
  Outcome outcome_ = Outcome::kRefused;
};

// One receiver that a broadcast could not be queued for.
struct Refusal {
  Peer peer;
  absl::Status status;
};

// What became of a broadcast. status() is not OK only if the whole call was refused (a limit, a
// closed endpoint); receivers that were refused one by one are listed, and the others have got the
// alert.
class BroadcastResult : public Result {
 public:
  using Result::Result;

  std::size_t accepted = 0;  // receivers for which the alert was written or queued
  std::size_t written = 0;   // of these, receivers whose pipe has all of it already
  std::vector<Refusal> refused;
};

}  // namespace alertpipe

#endif  // ALERTPIPE_RESULT_H_
