#!/bin/sh
# Takes out of a virtual environment what no program needs at run time: packages'
# own tests, headers, static libraries and typing stubs.
set -eu
site=$(echo "$1"/lib/python3*/site-packages)
find "$site" -depth -type d \( -name tests -o -name test \) -path '*/*' \
    ! -path '*/numpy/*' ! -path '*/pandas/*' -exec rm -rf {} +
rm -rf "$site"/pandas/tests "$site"/numpy/*/tests "$site"/numpy/tests "$site"/pyarrow/include "$site"/pyarrow/tests
find "$site" \( -name '*.a' -o -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.h' -o -name '*.hpp' -o -name '*.c' -o -name '*.cpp' \) -type f -delete
# Feast's web page: nothing here serves it.
rm -rf "$site"/feast/ui
