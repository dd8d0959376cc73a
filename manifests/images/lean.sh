#!/bin/sh
# Takes out of a virtual environment what no program needs at run time: packages'
# own tests, headers, static libraries and typing stubs.
set -eu
site=$(echo "$1"/lib/python3*/site-packages)
find "$site" -depth -type d \( -name tests -o -name test \) -path '*/*' \
    ! -path '*/numpy/*' ! -path '*/pandas/*' -exec rm -rf {} +
rm -rf "$site"/pandas/tests "$site"/numpy/*/tests "$site"/numpy/tests "$site"/pyarrow/include "$site"/pyarrow/tests
find "$site" \( -name '*.a' -o -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.h' -o -name '*.hpp' -o -name '*.c' -o -name '*.cpp' \) -type f -delete
# Feast's web page: nothing here serves it. Arrow Flight: nothing here speaks it. Data sets of statsmodels.
rm -rf "$site"/feast/ui "$site"/pyarrow/libarrow_flight.* "$site"/pyarrow/libarrow_python_flight.* "$site"/pyarrow/_flight.*
if [ -d "$site"/statsmodels/datasets ]; then
    find "$site"/statsmodels/datasets \( -name '*.csv' -o -name '*.dta' \) -type f -delete
fi
# Three copies of one library: programs load the one with the version of its interface.
rm -f "$site"/pyarrow/libarrow_python.so "$site"/pyarrow/libarrow_python.so.*.*.*
# Wheels that come with what debuggers read.
find "$site"/uvloop "$site"/aiohttp "$site"/httptools -name '*.so' -exec strip --strip-unneeded {} + 2>/dev/null || true
