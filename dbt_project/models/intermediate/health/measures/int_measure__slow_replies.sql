-- Tickets that had waited longer than the target for their first reply, over the 60 days since each passed it.
{%- set slow -%}
    (
        select
            customer_id,
            cast({{ dbt.dateadd('hour', 'cast(' ~ threshold('first_reply_target_hours') ~ ' as integer)', 'created_at') }} as date) as slow_date
        from {{ ref('int_tickets__attributed') }}
        where
            first_reply_at is null
            or first_reply_at > {{ dbt.dateadd('hour', 'cast(' ~ threshold('first_reply_target_hours') ~ ' as integer)', 'created_at') }}
    )
{%- endset %}
{% set totals = running_totals(summed_in_days(slow, 'slow_date', {'counted': '1'}, 60), ['counted']) %}
with

customer_days as (

    select * from {{ ref('int_customer_days') }}

),

totals as (

    select * from {{ totals }} as running

),

final as (

    select
        customer_days.customer_id,
        customer_days.as_of_date,
        cast(totals.counted as double precision) as raw_value,
        customer_days.support_age_days as age_days
    from customer_days
    inner join totals
        on
            customer_days.customer_id = totals.customer_id
            and customer_days.as_of_date = totals.as_of_date

)

select * from final
