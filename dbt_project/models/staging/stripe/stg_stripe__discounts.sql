with

source as (

    select
        *,
        {{ load_rank('id', '_fivetran_synced') }} as load_rank
    from {{ source('raw_stripe', 'discount') }}

),

renamed as (

    select
        ---------- ids
        id as discount_id,
        coupon_id,
        customer_id as stripe_customer_id,
        subscription_id,
        ---------- attributes
        lower(type) as discount_type,
        ---------- timestamps
        {{ utc_timestamp(adapter.quote('start')) }} as started_at,
        {{ utc_timestamp(adapter.quote('end')) }} as ends_at,
        {{ utc_timestamp('_fivetran_synced') }} as loaded_at
    from source
    where
        load_rank = 1
        and id is not null

),

known as (

    select *
    from renamed
    where started_at <= {{ as_of_at() }}

)

select * from known
