// SPDX-License-Identifier: MIT
#include "buffers.hpp"

#include "kinds.hpp"

namespace tests {
namespace {

template <typename Buffer, typename T>
class buffer_adaptor final : public buffer_interface<T> {
public:
    template <typename... Arguments>
    explicit buffer_adaptor(Arguments&&... arguments) : held_(std::forward<Arguments>(arguments)...) {}

    tidefall::write_status write(T value) override { return write_to(held_, std::move(value)); }
    tidefall::write_status write(T value, int partition_key) override {
        return write_to(held_, std::move(value), tidefall::partition_key{partition_key});
    }
    std::size_t write_all(std::vector<T> values) override { return write_all_to(held_, std::move(values)); }
    std::string const& name() const override { return held_.name(); }
    std::size_t partitions() const override { return held_.partitions(); }
    std::size_t size() const override { return held_.size(); }
    std::size_t size(std::size_t partition) const override { return held_.partition(partition).size(); }
    tidefall::buffer_stats stats() const override { return held_.stats(); }
    void update_options(tidefall::options_update const& update) override { held_.update_options(update); }
    tidefall::drain_report flush() override { return held_.flush(); }
    tidefall::drain_report flush(std::chrono::nanoseconds within) override { return held_.flush(within); }
    tidefall::drain_report stop() override { return held_.stop(); }
    tidefall::drain_report stop(std::chrono::nanoseconds within) override { return held_.stop(within); }

private:
    Buffer held_;
};

template <typename Buffer, typename T>
std::unique_ptr<buffer_interface<T>> make(tidefall::options how, processor_of<T> process,
                                          undelivered_of<T> undelivered) {
    using adaptor = buffer_adaptor<Buffer, T>;
    using value = typename Buffer::value_type;
    using table = typename whole_table<Buffer>::type;
    auto const with = [&](auto&& processor) -> std::unique_ptr<buffer_interface<T>> {
        return std::make_unique<adaptor>(
            std::move(how), std::move(processor),
            [back = std::move(undelivered)](std::span<value> batch, tidefall::failure const& why) {
                if (back) back(values_of<value, T>(batch).get(), why);
            });
    };
    if (process.full) {
        return with([f = std::move(process.full)](std::span<value> batch, tidefall::batch_info const& info,
                                                  std::stop_token token) {
            return f(values_of<value, T>(batch).get(), info, std::move(token));
        });
    }
    if (process.plain) {
        return with([f = std::move(process.plain)](std::span<value> batch) { f(values_of<value, T>(batch).get()); });
    }
    return with([f = std::move(process.whole)](table whole) {
        std::vector<T> values;
        for (auto& each : whole) values.push_back(std::move(value_in(each)));
        f(std::move(values));
    });
}

template <template <typename> typename Buffer>
constexpr buffer_kind kind_of(bool in_order) {
    return {in_order, &make<Buffer<int>, int>, &make<Buffer<parcel>, parcel>};
}

}  // namespace

constinit buffer_kind const insertion_queue::kind = kind_of<insertion_queue_of>(true);
constinit buffer_kind const producer_queue::kind = kind_of<producer_queue_of>(true);
constinit buffer_kind const sorted_queue::kind = kind_of<sorted_queue_of>(true);
constinit buffer_kind const map::kind = kind_of<map_of>(false);
constinit buffer_kind const custom::kind = kind_of<custom_of>(false);

}  // namespace tests
