// SPDX-License-Identifier: MIT
//
// A StatsD server. Datagrams come in on several threads, are added up in tidefall maps, and at the end of each window
// go to an SQLite database, and to Graphite where there is one. A page has live charts; Prometheus may scrape it.
//
//     07_statsd                                       until Ctrl-C; http://127.0.0.1:8126/ is the page
//     echo 'page.views:1|c' >/dev/udp/127.0.0.1/8125  from bash
//
// tidefall_tables.hpp has the part that is about tidefall.
#include "../support/descriptors.hpp"
#include "../support/format.hpp"
#include "../support/output.hpp"
#include "../support/sqlite.hpp"
#include "../support/stop_request.hpp"
#include "../support/ticker.hpp"
#include "board.hpp"
#include "monitor.hpp"
#include "mutex_tables.hpp"
#include "receiver.hpp"
#include "settings.hpp"
#include "store.hpp"
#include "tables.hpp"
#include "tidefall_tables.hpp"
#include "web.hpp"

#include <poll.h>

#include <chrono>
#include <exception>
#include <iostream>
#include <memory>
#include <string>

namespace statsd {
namespace {

using namespace std::chrono_literals;

/// Ends a window at each multiple of its length since 1970, so that a point of Graphite's has one window.
void end_windows(settings const& how, tables& all, access_log::stop_request const& stop) {
    pollfd asked = {.fd = stop.descriptor(), .events = POLLIN, .revents = 0};
    while (!stop.asked()) {
        auto const now = std::chrono::system_clock::now().time_since_epoch();
        auto const left = std::chrono::ceil<std::chrono::milliseconds>(how.window - now % how.window);
        if (::poll(&asked, 1, static_cast<int>(left.count())) == 0) all.end_window();
    }
}

std::unique_ptr<tables> make_tables(settings const& how, store& to,
                                    std::shared_ptr<tidefall::metrics_telemetry> const& metrics) {
    if (how.with_mutex) return std::make_unique<mutex_tables>(to);
    return std::make_unique<tidefall_tables>(how, to, metrics);
}

int serve(settings const& how) {
    access_log::stop_request stop;
    board shown;
    store stored(how, shown);
    auto const metrics = std::make_shared<tidefall::metrics_telemetry>();
    auto const waiting = make_tables(how, stored, metrics);
    receiver from(how, *waiting);
    monitor seen(from, dynamic_cast<tidefall_tables*>(waiting.get()), *metrics);
    {
        web const served(how, shown, seen);
        access_log::ticker const every_second(1s, [&] { seen.look(); });
        output::write("listening on " + how.address + ':' + std::to_string(from.port()) +
                      "; http://127.0.0.1:" + std::to_string(served.port()) + "/\n");
        end_windows(how, *waiting, stop);
    }
    from.stop();
    auto const lost = waiting->stop();
    auto const all = from.counts();
    using access_log::counted;
    output::write(counted(all.packets, "packet", "packets") + ", " + counted(all.values, "value", "values") + ", " +
                  counted(all.malformed, "malformed line", "malformed lines") + "; the kernel dropped " +
                  counted(all.kernel_dropped, "packet", "packets") + "; " + counted(lost, "series", "series") +
                  " lost\n");
    if (lost > 0) {
        std::cerr << "07_statsd: not all is stored: " << waiting->last_error() << '\n';
        return 1;
    }
    return stop.signal() == 0 ? 0 : 128 + stop.signal();
}

}  // namespace
}  // namespace statsd

int main(int argc, char** argv) {
    statsd::settings how;
    try {
        access_log::keep_standard_descriptors();
        output::let_closed_pipes_fail();
        if (auto const code = statsd::read_command_line(argc, argv, how)) return *code;
        return statsd::serve(how);
    } catch (access_log::database_error const& error) {
        std::cerr << "07_statsd: cannot use the database " << how.database << ": " << error.what() << '\n';
    } catch (std::exception const& error) {
        std::cerr << "07_statsd: " << error.what() << '\n';
    }
    return 1;
}
