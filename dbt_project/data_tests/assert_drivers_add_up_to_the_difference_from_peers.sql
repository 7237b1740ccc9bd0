-- What the dimensions add and take is exactly what lies between a customer and its peers.
select
    customer_id,
    as_of_date,
    rules_version
from {{ ref('customer_health_history') }}
where
    health_score is not null
    and health_score - peer_score <> {{ columns_sum(var('dimensions'), '_driver') }}
