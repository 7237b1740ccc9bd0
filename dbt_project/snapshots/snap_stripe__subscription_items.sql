{% snapshot snap_stripe__subscription_items %}

select
    subscription_item_id,
    subscription_id,
    price_id,
    quantity,
    loaded_at
from {{ ref('stg_stripe__subscription_items') }}

{% endsnapshot %}
