{% snapshot snap_stripe__subscriptions %}

select
    subscription_id,
    stripe_customer_id,
    status,
    seats,
    is_cancelled_at_period_end,
    loaded_at
from {{ ref('stg_stripe__subscriptions') }}

{% endsnapshot %}
