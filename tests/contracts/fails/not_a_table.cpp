// must fail: the storage does not meet the concept tidefall::table
#include <tidefall/buffer.hpp>
struct storage {
    using value_type = int;
};
template class tidefall::partition<storage>;
