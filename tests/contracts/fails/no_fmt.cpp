// must fail with -nostdinc: tidefall/format.hpp needs fmt 8.1 or newer: apt-get install libfmt-dev
#include <tidefall/format.hpp>
