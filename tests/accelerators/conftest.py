"""Before jax is imported: TPUs' library would ask a cloud which TPU this is."""

import os

os.environ |= {'TPU_SKIP_MDS_QUERY': '1', 'ALLOW_MULTIPLE_LIBTPU_LOAD': '1'}
