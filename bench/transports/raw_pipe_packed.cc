// SPDX-License-Identifier: Apache-2.0
//
// The fastest plain code: alerts share writes of up to 4096 bytes, large ones fill them.
#include "transport.h"
#include "transports/raw_link.h"

namespace alertpipe::bench {
namespace {

class RawPipePackedTransport {
 public:
  using Link = RawLink;
  static constexpr std::string_view kName = "raw-pipe-packed";
  static constexpr Abilities kCan = {/*linger=*/true, /*run=*/false};
  static absl::StatusOr<std::unique_ptr<RawTransport>> Create(const Settings& settings) {
    return RawTransport::Create(settings, {/*packed=*/true, /*run=*/0});
  }
};

const Registered<RawPipePackedTransport> kRegistered;

}  // namespace
}  // namespace alertpipe::bench
