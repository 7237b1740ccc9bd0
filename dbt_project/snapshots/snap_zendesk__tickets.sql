{% snapshot snap_zendesk__tickets %}

select
    ticket_id,
    status,
    loaded_at
from {{ ref('stg_zendesk__tickets') }}

{% endsnapshot %}
