// SPDX-License-Identifier: Apache-2.0
//
// The fastest plain code for large alerts: full packets of 4096 bytes leave several at a time.
#include "transport.h"
#include "transports/raw_link.h"

namespace alertpipe::bench {
namespace {

class RawPipeRunsTransport {
 public:
  using Link = RawLink;
  static constexpr std::string_view kName = "raw-pipe-runs";
  static constexpr Abilities kCan = {/*linger=*/true, /*run=*/true};
  static absl::StatusOr<std::unique_ptr<RawTransport>> Create(const Settings& settings) {
    return RawTransport::Create(settings, {/*packed=*/true, settings.run});
  }
};

const Registered<RawPipeRunsTransport> kRegistered;

}  // namespace
}  // namespace alertpipe::bench
