with

source as (

    select
        *,
        {{ load_rank('id', '_landed_at', ties=['name', 'email', 'currency']) }} as load_rank
    from {{ stripe('customer') }}

),

renamed as (

    select
        ---------- ids
        id as stripe_customer_id,
        workspace_id,
        ---------- attributes
        coalesce(name, id) as customer_name,
        {{ normalised_email('email') }} as email,
        lower(currency) as currency,
        upper(address_country) as country,
        _is_deleted as is_deleted,
        ---------- timestamps
        {{ utc_timestamp('created') }} as created_at,
        {{ utc_timestamp('_landed_at') }} as loaded_at
    from source
    where
        load_rank = 1
        and id is not null

),

known as (

    select *
    from renamed
    where {{ not_after_clock('created_at') }}

)

select * from known
