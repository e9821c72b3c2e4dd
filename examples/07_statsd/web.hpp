// SPDX-License-Identifier: MIT
#pragma once

#include "board.hpp"
#include "monitor.hpp"
#include "settings.hpp"

#include <memory>

namespace statsd {

/// Serves the page at http://127.0.0.1:PORT/, its numbers at /data.json, and /metrics for Prometheus, on threads of its
/// own, as long as it lives.
class web {
public:
    web(settings const& how, board const& shown, monitor const& seen);
    web(web const&) = delete;
    web& operator=(web const&) = delete;
    ~web();

    [[nodiscard]] int port() const;

private:
    struct parts;
    std::unique_ptr<parts> parts_;
};

}  // namespace statsd
