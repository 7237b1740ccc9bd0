-- Health at the clock, with how it moved. Customers without a live subscription have no health: `unknown`.
with

customers as (

    select * from {{ ref('int_customers__subscribed') }}

),

history as (

    select * from {{ ref('customer_health_history') }}

),

dimensions as (

    select * from {{ ref('health_dimensions') }}

),

final as (

    select
        customers.customer_id,
        {{ as_of_date() }} as as_of_date,
        today.health_score,
        coalesce(today.health_band, 'unknown') as health_band,
        cast(coalesce(today.coverage, 0) as decimal(5, 4)) as coverage,
        cast(today.health_score - week_ago.health_score as decimal(5, 2)) as health_change_7d,
        cast(today.health_score - month_ago.health_score as decimal(5, 2)) as health_change_28d,
        today.weakest_dimension,
        dimensions.name_en as weakest_dimension_en,
        dimensions.name_ja as weakest_dimension_ja
    from customers
    left join history as today
        on
            customers.customer_id = today.customer_id
            and today.as_of_date = {{ as_of_date() }}
    left join history as week_ago
        on
            customers.customer_id = week_ago.customer_id
            and week_ago.as_of_date = {{ days_before(as_of_date(), 7) }}
    left join history as month_ago
        on
            customers.customer_id = month_ago.customer_id
            and month_ago.as_of_date = {{ days_before(as_of_date(), 28) }}
    left join dimensions
        on today.weakest_dimension = dimensions.dimension

)

select * from final
