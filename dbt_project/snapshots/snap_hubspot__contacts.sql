-- No address or name: who it is, stands in the contact.
{% snapshot snap_hubspot__contacts %}

select
    hubspot_contact_id,
    has_opted_out,
    legal_basis,
    loaded_at
from {{ ref('stg_hubspot__contacts') }}

{% endsnapshot %}
