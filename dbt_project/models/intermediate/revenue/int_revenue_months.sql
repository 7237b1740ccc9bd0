-- Every month from the first paid version of a subscription to the clock's month, and the instant at which it is read.
{% set months_at_most = 1200 %}
{% set this_month = dbt.date_trunc('month', as_of_date()) %}
with

versions as (

    select * from {{ ref('stg_stripe__subscription_versions') }}

),

numbers as (

    {{ dbt.generate_series(months_at_most) }}

),

months as (

    select cast({{ dbt.dateadd('month', '1 - cast(generated_number as integer)', this_month) }} as date) as month
    from numbers

),

first_month as (

    select cast({{ dbt.date_trunc('month', 'min(valid_from)') }} as date) as month
    from versions
    where status in ('active', 'past_due')

),

ending as (

    select
        months.month,
        {{ dbt.dateadd('second', -1, dbt.dateadd('month', 1, 'cast(months.month as ' ~ dbt.type_timestamp() ~ ')')) }} as last_second_at
    from months
    inner join first_month
        on months.month >= first_month.month

),

final as (

    select
        month,
        case when last_second_at <= {{ as_of_at() }} then last_second_at else {{ as_of_at() }} end as observed_at,
        last_second_at <= {{ as_of_at() }} as is_complete
    from ending

)

select * from final
