{% snapshot snap_hubspot__companies %}

select
    hubspot_company_id,
    owner_id,
    loaded_at
from {{ ref('stg_hubspot__companies') }}

{% endsnapshot %}
